// Logs a person in with a headless browser, and out again. Prints one JSON object
// with what was seen.
//
// Usage: node browser.mjs CHROMIUM SITE USER
import puppeteer from 'puppeteer-core';

const [executablePath, site, user] = process.argv.slice(2);
const browser = await puppeteer.launch({
  executablePath, headless: true, acceptInsecureCerts: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(`${site}/page?x=1`);
  await page.type('#user', user);
  await Promise.all([page.waitForNavigation(), page.click('#go')]);
  const seen = { url: page.url(), body: await page.evaluate(() => document.body.innerText) };
  const cookies = (await browser.cookies()).filter((c) => c.name.startsWith('__Host-'));
  seen.cookies = cookies.map(({ name, secure, httpOnly, sameSite, path, domain }) => ({ name, secure, httpOnly, sameSite, path, domain }));
  seen.script = await page.evaluate(() => document.cookie);
  await page.goto(`${site}/.soc2/auth/logout`);
  seen.asked = page.url();
  await Promise.all([page.waitForNavigation(), page.click('button[name=logout]')]);
  seen.out = page.url();
  seen.after = await page.evaluate(() => document.body.innerText);
  seen.left = (await browser.cookies()).filter((c) => c.name.includes('session_')).length;
  await page.goto(`${site}/page`);
  seen.again = page.url();
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}
