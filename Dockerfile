# docker build --target cpu --tag reid_lightning:cpu .        docker build --target cuda --tag reid_lightning:cuda .
# The packages are those of requirements.txt without the tools of the tests. docs/containers.md has the rest.
FROM python:3.12.12-slim-bookworm AS base
ENV PATH=/opt/reid/bin:$PATH VIRTUAL_ENV=/opt/reid \
    STREAMLIT_SERVER_ADDRESS=0.0.0.0
RUN python -m venv /opt/reid \
    && pip install --no-cache-dir uv==0.13.9 \
    && useradd --create-home --uid 10001 reid \
    && install --directory --owner=reid /srv/reid
WORKDIR /src
COPY pyproject.toml requirements.txt ./
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
ENTRYPOINT ["reid"]
CMD ["app"]

FROM base AS wheel
COPY reid_lightning ./reid_lightning
COPY conf ./conf
COPY README.md LICENSE ./
RUN uv build --wheel --build-constraints requirements.txt --out-dir /wheel

# Without CUDA's libraries, some gigabytes less.
FROM base AS packages-cpu
RUN uv pip install --no-cache --compile-bytecode --torch-backend cpu \
    --requirements pyproject.toml --extra all --constraints requirements.txt

# CUDA comes with torch; the host brings the driver and NVIDIA's container toolkit.
FROM base AS packages-cuda
RUN uv pip install --no-cache --compile-bytecode --requirements pyproject.toml --extra all --constraints requirements.txt

FROM packages-cpu AS cpu
COPY --from=wheel /wheel /wheel
RUN uv pip uninstall opencv-python \
    && uv pip install --no-cache --reinstall --no-deps --constraints requirements.txt opencv-python-headless \
    && uv pip install --no-cache --compile-bytecode --no-deps /wheel/reid_lightning-*.whl
USER reid
WORKDIR /srv/reid

FROM packages-cuda AS cuda
COPY --from=wheel /wheel /wheel
RUN uv pip uninstall opencv-python \
    && uv pip install --no-cache --reinstall --no-deps --constraints requirements.txt opencv-python-headless \
    && uv pip install --no-cache --compile-bytecode --no-deps /wheel/reid_lightning-*.whl
USER reid
WORKDIR /srv/reid
