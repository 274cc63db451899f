# syntax=docker/dockerfile:1
# Files of a site that npm builds to dist, served on port 8080. A site that needs
# no build leaves the first stage away and copies its files.
ARG NODE_IMAGE=node:20-bookworm-slim
ARG SERVER_IMAGE=nginxinc/nginx-unprivileged:1.29-alpine-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /src
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci
COPY . .
RUN npm run build

FROM ${SERVER_IMAGE} AS app
COPY --from=build --chmod=0555 /src/dist /usr/share/nginx/html
EXPOSE 8080
USER 101:101
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"]
