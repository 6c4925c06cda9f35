"""The parts of the program: from a picture to digits, and from digits to a trained network."""
