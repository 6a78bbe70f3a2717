# syntax=docker/dockerfile:1
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE piccolo_conf.py ./
COPY api_factory api_factory
COPY api api
COPY schema schema
COPY admin admin
COPY fake_stripe fake_stripe
COPY migrations migrations
RUN python -m venv /app \
    && /app/bin/pip install --no-cache-dir --constraint constraints.txt '.[embedded]'

FROM python:3.12-slim
RUN groupadd --gid 10001 app \
    && useradd --uid 10001 --gid app --create-home --home-dir /home/app --shell /usr/sbin/nologin app \
    && install --directory --owner app --group app --mode 700 /home/app/.api-factory
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /home/app
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/_api/healthz', timeout=2)"]
ENTRYPOINT ["api-factory"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
