# fanlab's own processes: Locust's master and workers with their engines, the witness. fanlab names the command.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
RUN python3 -m venv /opt/fanlab
ENV PATH=/opt/fanlab/bin:$PATH PYTHONPATH=/opt/fanlab/src PYTHONUNBUFFERED=1
COPY runtime.lock /opt/fanlab/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /opt/fanlab/runtime.lock
COPY fanlab /opt/fanlab/src/fanlab
RUN python -m compileall -q /opt/fanlab/src
