FROM python:3.11.13-slim-bookworm

# On x86-64 set this to PyTorch's CPU index, or the image grows by gigabytes of CUDA libraries.
ARG PIP_EXTRA_INDEX_URL=""

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1 \
    LOUPE_DATA=/data \
    HF_HOME=/data/models

WORKDIR /app
COPY requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt

RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin loupe \
    && install --directory --owner loupe --group loupe /data
COPY manage.py ./
COPY config config
COPY images images
COPY search search
COPY workers workers
COPY templates templates
COPY locale locale
COPY static static
COPY deploy deploy

USER loupe
VOLUME /data
EXPOSE 8000

HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
    CMD ["python", "deploy/healthy.py"]
CMD ["gunicorn", "--config", "config/gunicorn.py", "--bind", "0.0.0.0:8000", "config.wsgi"]
