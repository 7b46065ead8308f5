# A run's Redis: that of the base image, else the distribution's (Debian and its kin). fanlab names the command.
ARG BASE=redis:7.2-bookworm
FROM ${BASE}
RUN command -v redis-server \
 || { apt-get update && apt-get install -y --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/*; }
