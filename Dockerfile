# The service of serve.py:
#     docker build -t video-zoo .
#     docker run --rm -p 8866:8866 -e ZOO_SERVE_TOKEN=secret -v "$PWD/checkpoints:/models:ro" video-zoo --weights=/models/STNET_best
FROM python:3.11-slim
RUN useradd --create-home zoo
WORKDIR /zoo
COPY . .
RUN pip install --no-cache-dir "paddlepaddle==3.3.1" -e ".[cpu,serve]"
USER zoo
EXPOSE 8866
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=120s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8866/readyz', timeout=5)"]
ENTRYPOINT ["python", "serve.py", "--host=0.0.0.0"]
