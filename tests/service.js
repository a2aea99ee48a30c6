// A person in a browser: sets a password, files a delete for a CSV, sees it end, makes a token. No page may have a
// finding of axe-core, nor need JavaScript. Pictures of each page in both colour schemes and at 320 pixels are kept.
const fs = require("fs");
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [link, shots] = process.argv.slice(2);
const origin = new URL(link).origin;
const password = "four words for tests";
fs.mkdirSync(shots, { recursive: true });

function must(condition, text) {
  if (!condition) throw new Error(text);
}

async function main() {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  // People work without JavaScript; axe-core gets a page of its own.
  const plain = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 1200, height: 850 } });
  const page = await plain.newPage();
  const findings = [];

  async function look(name) {
    const state = await plain.storageState();
    const html = await page.content();
    for (const [scheme, width] of [["light", 1200], ["dark", 1200], ["light", 320], ["dark", 320]]) {
      const context = await browser.newContext({ storageState: state, colorScheme: scheme, bypassCSP: true, viewport: { width, height: 850 } });
      const view = await context.newPage();
      // The very page that the person sees, at its own address.
      await view.route(page.url(), (route) => route.fulfill({ body: html, contentType: "text/html; charset=utf-8" }));
      await view.goto(page.url());
      await view.screenshot({ path: `${shots}/${name}-${scheme}-${width}.png`, fullPage: true });
      const overflow = await view.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (overflow > 0) findings.push(`${name} at ${width}: ${overflow} pixels too wide`);
      await view.evaluate(axe);
      const found = await view.evaluate(() => window.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
      for (const one of found.violations) findings.push(`${name} ${scheme} ${width}: ${one.id} at ${one.nodes.map((node) => node.target).join(", ")}`);
      must(found.passes.length > 5, `axe-core did not look at ${name}`);
      await context.close();
    }
  }

  await page.goto(`${origin}/`);
  must(page.url() === `${origin}/login`, "a stranger must log in");
  await look("login");
  await page.goto(link);
  await look("welcome");
  await page.fill("#name", "Ada Lovelace");
  await page.fill("#password", password);
  await page.fill("#again", password);
  await page.click("main button");
  must(page.url() === `${origin}/requests`, `after the password: ${page.url()}`);
  await look("requests-empty");
  await page.click("text=New request");
  await look("new");
  await page.click("main form button.main");
  must(await page.locator("#faults").isVisible(), "a request without ids is refused");
  await look("new-faults");
  await page.setInputFiles("#file", { name: "ids.csv", mimeType: "text/csv", buffer: Buffer.from("distinct_id\nnobody-zq7-1\nnobody-zq7-2\nnobody-zq7-3\n") });
  await page.click("main form button.main");
  must((await page.textContent("h1")).includes("Delete 3 people"), "the preview counts the ids");
  await look("preview");
  await page.fill("#confirm", "2");
  await page.click("text=Send the delete");
  must((await page.textContent("main")).includes("type the number of people"), "a wrong number is refused");
  await page.fill("#confirm", "3");
  await page.click("text=Send the delete");
  must(page.url().includes("/requests/"), `after sending: ${page.url()}`);
  await look("request");
  for (let turn = 0; turn < 100; turn += 1) {
    await page.reload();
    if ((await page.textContent("main .head .state")) !== "Pending") break;
    await page.waitForTimeout(200);
  }
  const ended = await page.textContent("main .head .state");
  must(ended === "Failed", `unknown ids end as failed, not as ${ended}`);
  await look("request-ended");
  for (const [path, name] of [["/requests", "requests"], ["/suppression", "suppression"], ["/people", "people"], ["/audit", "audit"], ["/developers", "developers"], ["/nowhere", "nowhere"]]) {
    await page.goto(origin + path);
    await look(name);
  }
  await page.goto(`${origin}/settings`);
  await page.fill("#name", "Nightly batch");
  await page.click("text=Generate a token");
  const token = await page.textContent("#token");
  await look("settings");
  await browser.close();
  must(findings.length === 0, findings.join("\n"));
  console.log(token);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
