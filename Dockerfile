# Two stages, so that the image has no build tools. docs/operations.md says how to run it.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
# Without pip, which the image does not need.
RUN python -m venv --without-pip /app
COPY requirements/image.txt requirements/
RUN pip --python /app/bin/python install --no-cache-dir --no-compile --require-hashes -r requirements/image.txt
COPY pyproject.toml README.md ./
COPY src src
RUN pip --python /app/bin/python install --no-cache-dir --no-deps --no-build-isolation . \
    && /app/bin/python -m compileall -q /app/lib

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 bitespeed \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin bitespeed \
    && install --directory --owner 10001 --group 10001 --mode 0700 /data
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BITESPEED_HOST=0.0.0.0 \
    DATABASE_URL=sqlite:////data/bitespeed.db
USER 10001:10001
WORKDIR /data
# The service writes only here and to the temporary folder.
VOLUME /data
EXPOSE 8000
# Whether the process lives. A restart would not help when the database is away.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('BITESPEED_PORT', '8000') + '/health', timeout=2)"]
ENTRYPOINT ["bitespeed"]
CMD ["serve"]
