addEventListener("install", () => self.skipWaiting());
