// Leads connections for a site on the usual ports to a server on this machine,
// so that a grader that knows no ports can grade it. PORTS is "80=8080 443=8443".
import net from "node:net";

const ports = new Map(process.env.PORTS.split(" ").map((pair) => pair.split("=").map(Number)));
const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function (...args) {
	const options = Array.isArray(args[0]) ? args[0][0] : args[0];
	const port = typeof options === "object" && ports.get(Number(options.port));
	if (!port) {
		throw new Error(`there is no way to ${JSON.stringify(options)}`);
	}
	Object.assign(options, { host: "127.0.0.1", port });
	return connect.apply(this, args);
};
