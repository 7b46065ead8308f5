# fanlab's own processes: Locust's master and workers with their engines, the witness. fanlab names the command.
# The context is packed for a run; a Compose file's is a checkout, and says where in it LOCK and PACKAGE are.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
RUN python3 -m venv /opt/fanlab
ENV PATH=/opt/fanlab/bin:$PATH PYTHONPATH=/opt/fanlab/src PYTHONUNBUFFERED=1
ARG LOCK=runtime.lock
COPY ${LOCK} /opt/fanlab/runtime.lock
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /opt/fanlab/runtime.lock
ARG PACKAGE=fanlab
COPY ${PACKAGE} /opt/fanlab/src/fanlab
RUN python -m compileall -q /opt/fanlab/src
