// Opens pages in headless Chromium, lets them be for a moment, prints them to PDF,
// and prints what became of each as JSON:
//
//	node inert.mjs CHROMIUM <<< '[{"url": "https://…", "bypass": true}]'
//
// With "bypass" the Content-Security-Policy of the page does not count: what the
// page holds back is then its text alone.
import { text } from "node:stream/consumers";
import { chromium } from "playwright-core";

const visits = JSON.parse(await text(process.stdin));
const browser = await chromium.launch({
	executablePath: process.argv[2],
	args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
});
const results = [];
for (const { url, bypass } of visits) {
	const context = await browser.newContext({ bypassCSP: bypass });
	const page = await context.newPage();
	const happened = [];
	page.on("console", (message) => happened.push(`console: ${message.text()}`));
	page.on("pageerror", (error) => happened.push(`exception: ${error.message}`));
	page.on("dialog", (dialog) => {
		happened.push(`dialog: ${dialog.message()}`);
		return dialog.dismiss();
	});
	page.on("popup", () => happened.push("popup"));
	page.on("download", (download) => happened.push(`download: ${download.url()}`));
	page.on("frameattached", () => happened.push("frame"));
	let first = true;
	page.on("request", (request) => {
		if (!first) happened.push(`request: ${request.url()}`);
		first = false;
	});
	let seen = {};
	try {
		await page.goto(url, { waitUntil: "load", timeout: 60_000 });
		for (let i = 0; i < 20; i++) await page.keyboard.press("Tab"); // focus may set handlers off
		for (let y = 100; y < 700; y += 60) await page.mouse.click(300, y);
		await page.waitForLoadState("networkidle", { timeout: 30_000 });
		seen = await page.evaluate(() => {
			const tags = {}, attributes = new Set();
			for (const element of document.querySelectorAll("*")) {
				const name = element.localName;
				tags[name] = (tags[name] ?? 0) + 1;
				for (const attribute of element.attributes) attributes.add(attribute.name);
			}
			return { url: location.href, sentinel: String(window.pwned), tags, attributes: [...attributes].sort(), text: document.documentElement.textContent, hidden: getComputedStyle(document.body).display === "none" };
		});
		await page.emulateMedia({ media: "print" });
		seen.margin = await page.evaluate(() => getComputedStyle(document.body).margin);
		seen.pdf = (await page.pdf({ preferCSSPageSize: true, printBackground: true })).toString("base64");
		seen.sentinel = await page.evaluate(() => String(window.pwned)); // printing has handlers, too
	} catch (error) {
		happened.push(`stopped: ${error.message}`);
	}
	results.push({ ...seen, happened });
	await context.close();
}
await browser.close();
console.log(JSON.stringify(results));
