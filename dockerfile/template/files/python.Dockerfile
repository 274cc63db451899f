# syntax=docker/dockerfile:1
# A Python application: packages are installed from a lock file with hashes, as
# "pip-compile --generate-hashes" or "uv export" write it, in a stage of their own.
# "python -m app" listens on port 8000, answers GET /healthz, and ends on SIGTERM.
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY requirements.txt ./
RUN --mount=type=cache,target=/root/.cache/pip pip install --require-hashes -r requirements.txt

FROM ${PYTHON_IMAGE} AS app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv
COPY --from=build /venv /venv
COPY app ./app
EXPOSE 8000
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["python", "-m", "app"]
