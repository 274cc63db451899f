// What applications of one page do: routes, lazy parts, workers, styles and
// images made by scripts, requests with a token from a cookie, streams.
import { h } from "./vendor.js";

window.steps = [];
const root = document.getElementById("root");
const done = (step) => { window.steps.push(step); root.append(h("p", { textContent: step })); };

document.head.append(h("style", { textContent: "p { outline: 1px solid rgb(4, 5, 6); }" }));
history.pushState({}, "", "/spa/orders/17");
done("route");

import("./lazy.js").then(({ step }) => done(step));

const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
worker.onmessage = ({ data }) => done(data);
const made = new Worker(URL.createObjectURL(new Blob(["postMessage('made worker')"], { type: "text/javascript" })));
made.onmessage = ({ data }) => done(data);

const events = new EventSource("/spa/api/events");
events.onmessage = ({ data }) => { events.close(); done(data); };
const socket = new WebSocket(`wss://${location.host}/spa/api/socket`);
socket.onopen = () => socket.send("socket");
socket.onmessage = ({ data }) => { socket.close(); done(data); };

const session = await fetch("/spa/api/session", { method: "POST" });
const token = document.cookie.match(/app_token=(\w+)/)?.[1];
const orders = await fetch("/spa/api/orders", { headers: { "X-Token": token } });
if (session.ok && orders.ok) done((await orders.json()).step);

const canvas = h("canvas", { width: 3, height: 3 });
const blob = await new Promise((resolve) => canvas.toBlob(resolve));
const image = h("img", { src: URL.createObjectURL(blob) });
await image.decode();
const data = h("img", { src: canvas.toDataURL() });
await data.decode();
root.append(image, data);
if (getComputedStyle(root).display === "grid" && getComputedStyle(root.firstChild).outlineColor === "rgb(4, 5, 6)") done("style");

await navigator.serviceWorker.register("/spa/sw.js", { scope: "/spa/" });
await navigator.serviceWorker.ready;
done("service worker");
