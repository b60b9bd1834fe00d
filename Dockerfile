# One image for migrate, dicom_node, viewer_api and hl7; docker-compose.yml says which is which.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
WORKDIR /build
COPY pyproject.toml constraints.txt ./
RUN python -m venv /opt/venv \
 && python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
    > requirements.txt \
 && /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
    --constraint constraints.txt --requirement requirements.txt

# The viewer, at the version and digest that viewer_setup knows.
FROM ${PYTHON_IMAGE} AS viewer
RUN apt-get update && apt-get install -y --no-install-recommends npm && rm -rf /var/lib/apt/lists/*
COPY --from=packages /opt/venv /opt/venv
WORKDIR /build
COPY config ./config
COPY viewer_api ./viewer_api
RUN /opt/venv/bin/python -m viewer_api.viewer_setup --to /opt/ohif

FROM ${PYTHON_IMAGE}
RUN useradd --system --uid 10001 --user-group --home-dir /nonexistent --shell /usr/sbin/nologin pacs \
 && install -d -o pacs -g pacs -m 750 /var/lib/pacs /var/lib/pacs/spool
COPY --from=packages /opt/venv /opt/venv
COPY --from=viewer /opt/ohif /opt/ohif
WORKDIR /app
COPY config ./config
COPY storage ./storage
COPY archive ./archive
COPY dicom_node ./dicom_node
COPY viewer_api ./viewer_api
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1
# The root file system is read-only when it runs.
RUN python -m compileall -q /app
ENV PYTHONDONTWRITEBYTECODE=1
USER pacs
EXPOSE 11112 8080 2575
