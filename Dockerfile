# The service alone, without TensorFlow: docker build -t digits . && docker run -p 5000:5000 digits
FROM python:3.12-slim
WORKDIR /app
ENV PYTHONDONTWRITEBYTECODE=1 MNIST_HOST=0.0.0.0 MNIST_PORT=5000
COPY requirements-serve.txt ./
RUN python -m pip install --no-cache-dir --require-hashes -r requirements-serve.txt
COPY app.py mnist_dnn.h5 ./
COPY digits ./digits
COPY static ./static
COPY templates ./templates
RUN useradd --system --no-create-home reader
USER reader
EXPOSE 5000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:5000/healthz')"]
CMD ["python", "app.py"]
