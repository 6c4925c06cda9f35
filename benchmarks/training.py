"""Measure training: accuracy, calibration and seconds, compared with the usual networks.

    python benchmarks/training.py [--seeds 3] [-- --epochs 60 ...]
    python benchmarks/training.py --others [--figure accuracy.png]

Flags after -- go to mnist_dnn.py, which runs as a user would run it, in a process of its own, from
start to saved model. The others train on the same images for as long as ours took.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from digits.metrics import calibration_error
from mnist_dnn import load_mnist, load_trained_model, predict_images, split


def run_ours(seed, flags):
    """Train in a process of its own.

    Returns:
        Test accuracy and calibration error in percent, seconds in all, the validation accuracy by
        seconds from the start, float (n, 2), and the trained model.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "mnist_dnn.h5")
        command = [sys.executable, "-u", ROOT / "mnist_dnn.py", "--seed", str(seed)]
        start, curve, text = time.perf_counter(), [], ""
        with subprocess.Popen(
            [*command, "--output", output, *flags], stdout=subprocess.PIPE, text=True
        ) as process:
            for line in process.stdout:
                text += line
                if found := re.search(r"val_accuracy: ([\d.]+)", line):
                    curve.append((time.perf_counter() - start, float(found[1]) * 100))
        if process.returncode:
            raise RuntimeError(f"mnist_dnn.py ended with {process.returncode}")
        seconds = time.perf_counter() - start
        model = load_trained_model(output)
    found = re.search(r"Test accuracy ([\d.]+)%.*calibration error ([\d.]+)%", text)
    return float(found[1]), float(found[2]), seconds, np.array(curve), model


def quickstart():
    """The network of TensorFlow's quickstart for beginners."""
    from keras import Input, Sequential, layers

    model = Sequential([Input((28, 28)), layers.Flatten(), layers.Dense(128, "relu")])
    model.add(layers.Dropout(0.2))
    model.add(layers.Dense(10, "softmax"))
    return KerasClassifier(model, "adam", 32)


def mnist_mlp():
    """The network of Keras's old example mnist_mlp."""
    from keras import Input, Sequential, layers

    model = Sequential([Input((28, 28)), layers.Flatten()])
    for _ in range(2):
        model.add(layers.Dense(512, "relu"))
        model.add(layers.Dropout(0.2))
    model.add(layers.Dense(10, "softmax"))
    return KerasClassifier(model, "rmsprop", 128)


class KerasClassifier:
    """A Keras network that is trained by the epoch, like scikit-learn's."""

    def __init__(self, model, optimizer, batch_size):
        self.model, self.batch_size = model, batch_size
        model.compile(optimizer, "sparse_categorical_crossentropy")

    def partial_fit(self, x, y):
        self.model.fit(x, y, batch_size=self.batch_size, verbose=0)

    def predict_proba(self, x):
        return self.model.predict_on_batch(x)


class FlatClassifier:
    """scikit-learn's MLPClassifier, one hidden layer of 100, one epoch at a time."""

    def __init__(self):
        from sklearn.neural_network import MLPClassifier

        self.model = MLPClassifier(random_state=0)

    def partial_fit(self, x, y):
        self.model.partial_fit(x.reshape(len(x), -1), y, classes=np.arange(10))

    def predict_proba(self, x):
        return self.model.predict_proba(x.reshape(len(x), -1))


OTHERS = {
    "TensorFlow's quickstart": quickstart,
    "Keras's mnist_mlp": mnist_mlp,
    "scikit-learn's MLPClassifier": FlatClassifier,
}


def score(probabilities, labels):
    """Return accuracy and calibration error in percent."""
    accuracy = (probabilities.argmax(axis=1) == labels).mean()
    return accuracy * 100, calibration_error(probabilities, labels) * 100


def run_other(build, seconds):
    """Train on MNIST for some seconds; return the same as `run_ours`, without the model."""
    data, (test_images, test_labels) = load_mnist()
    (images, labels), (held_out, held_out_labels) = (part.gather() for part in split(data, seed=0))
    classifier, spent, curve = build(), 0, []
    while spent < seconds:
        start = time.perf_counter()
        classifier.partial_fit(images.astype("float32") / 255, labels)
        spent += time.perf_counter() - start
        answers = classifier.predict_proba(held_out.astype("float32") / 255).argmax(axis=1)
        curve.append((spent, (answers == held_out_labels).mean() * 100))
    probabilities = np.asarray(classifier.predict_proba(test_images.astype("float32") / 255))
    return *score(probabilities, test_labels), spent, np.array(curve)


def draw(curves, path):
    """Draw the errors on the validation split against seconds of training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for (name, curve), colour in zip(curves.items(), ("C1", "C0", "C2", "C4")):
        seconds, accuracy = curve.T
        width = 2 if name == "this project" else 1.2
        axes.plot(seconds, 100 - accuracy, color=colour, lw=width, label=name)
    axes.set(xlabel="seconds of training on 2 cores", ylabel="error on the validation split, %")
    axes.set(yscale="log", xlim=(0, None), ylim=(None, 10))
    axes.set_yticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    axes.minorticks_off()
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--figure", metavar="PNG", help="with --others")
    parser.add_argument("flags", nargs="*", help="for mnist_dnn.py")
    args = parser.parse_args()
    print("| | test accuracy | calibration error | seconds |\n|---|---|---|---|")
    runs, answers, (images, labels) = [], [], load_mnist()[1]
    for seed in range(args.seeds):
        *scores, curve, model = run_ours(seed, args.flags)
        runs.append(scores)
        answers.append(predict_images(images, model))
        print("| seed {} | {:.2f} % | {:.2f} % | {:.0f} |".format(seed, *scores), flush=True)
    accuracy, calibration, seconds = np.mean(runs, axis=0)
    error = 1.96 * np.sqrt(accuracy * (100 - accuracy) / len(labels))
    print(
        f"| mean, {model.count_params():,} parameters | {accuracy:.2f} % (95 % interval "
        f"± {error:.2f}) | {calibration:.2f} % | {seconds:.0f} |"
    )
    together = score(np.mean(answers, axis=0), labels)
    print("| averaged, as by --ensemble | {:.2f} % | {:.2f} % | |".format(*together))
    curves = {"this project": curve}
    for name, build in OTHERS.items() if args.others else []:
        *scores, curves[name] = run_other(build, seconds)
        print("| {} | {:.2f} % | {:.2f} % | {:.0f} |".format(name, *scores), flush=True)
    if args.figure:
        draw(curves, args.figure)


if __name__ == "__main__":
    main()
