// Opens pages in headless Chromium and prints what became of each as JSON:
//
//	node browse.mjs CHROMIUM <<< '[{"url": "https://…", "ready": "expression"}]'
//
// A page has rendered when the expression "ready" is true in it. Errors are what
// the console calls so, exceptions, and requests that failed.
import { text } from "node:stream/consumers";
import { chromium } from "playwright-core";

// until waits in steps from outside: a policy may forbid the page to evaluate text.
async function until(page, expression) {
	for (const end = Date.now() + 30_000; !(await page.evaluate(expression)); ) {
		if (Date.now() > end) throw new Error(`not true after 30 s: ${expression}; steps ${await page.evaluate("String(window.steps)")}`);
		await new Promise((resolve) => setTimeout(resolve, 20));
	}
}

const pages = JSON.parse(await text(process.stdin));
const browser = await chromium.launch({
	executablePath: process.argv[2],
	args: ["--no-sandbox", "--ignore-certificate-errors", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
});
const results = [];
for (const { url, ready } of pages) {
	const context = await browser.newContext({ ignoreHTTPSErrors: true, serviceWorkers: "allow" });
	const page = await context.newPage();
	const errors = [];
	page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
	page.on("pageerror", (error) => errors.push(`exception: ${error.message}`));
	page.on("requestfailed", (request) => {
		const why = request.failure()?.errorText;
		// A page that has seen enough closes a stream of events.
		if (why !== "net::ERR_ABORTED" || request.resourceType() !== "eventsource") errors.push(`${request.url()}: ${why}`);
	});
	let rendered = true;
	try {
		await page.goto(url, { waitUntil: "load", timeout: 60_000 });
		await until(page, ready);
		await page.waitForLoadState("networkidle", { timeout: 30_000 });
	} catch (error) {
		rendered = false;
		errors.push(`not rendered: ${error.message}`);
	}
	results.push({ url, rendered, errors, protocol: await page.evaluate("performance.getEntriesByType('navigation')[0]?.nextHopProtocol ?? ''").catch(() => "") });
	await context.close();
}
await browser.close();
console.log(JSON.stringify(results));
