// A person in a browser: sets a password, files deletes for CSVs, sees one end as done and one as failed, searches,
// adds people, makes a token. No page may have a finding of axe-core, be wider than 320 pixels, or need JavaScript.
// Pictures of each page are kept, in both colour schemes and two widths.
const fs = require("fs");
const { execSync } = require("child_process");
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [link, two, shots] = process.argv.slice(2);
const origin = new URL(link).origin;
const password = "four words for tests";
fs.mkdirSync(shots, { recursive: true });

function must(condition, text) {
  if (!condition) throw new Error(text);
}

async function main() {
  const executablePath = execSync("command -v chromium", { shell: "/bin/sh" }).toString().trim();
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  // People work without JavaScript; axe-core gets a page of its own.
  const plain = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 1200, height: 850 } });
  const page = await plain.newPage();
  const findings = [];
  const refused = [];
  page.on("console", (message) => {
    if (/Refused|Content Security Policy/.test(message.text())) refused.push(`${page.url()}: ${message.text()}`);
  });

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

  async function file(csv, people) {
    await page.goto(`${origin}/requests/new`);
    await page.setInputFiles("#file", csv);
    await page.click("main form button.main");
    must((await page.textContent("h1")).includes(`Delete ${people} people`), "the preview counts the ids");
  }

  async function send(people) {
    await page.fill("#confirm", people);
    await page.click("text=Send the delete");
  }

  async function end(expected) {
    for (let turn = 0; turn < 150; turn += 1) {
      await page.reload();
      if (!/Pending|Staging|Started/.test(await page.textContent("main .head .state"))) break;
      await page.waitForTimeout(200);
    }
    const ended = await page.textContent("main .head .state");
    must(ended === expected, `it must end as ${expected}, not as ${ended}`);
  }

  await page.goto(`${origin}/`);
  must(page.url() === `${origin}/login`, "a stranger must log in");
  await look("login");
  await page.fill("#email", "ada@example.com");
  await page.fill("#password", "a wrong password");
  await page.click("main button");
  await look("login-wrong");
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

  await file({ name: "ids.csv", mimeType: "text/csv", buffer: Buffer.from("distinct_id\nnobody-zq7-1\nnobody-zq7-2\nnobody-zq7-3\n") }, 3);
  await look("preview-unknown");
  await send("2");
  must((await page.textContent("main")).includes("type the number of people"), "a wrong number is refused");
  await look("preview-wrong");
  await send("3");
  must(page.url().includes("/requests/"), `after sending: ${page.url()}`);
  await look("request");
  await end("Failed");
  await look("request-failed");

  await file(two, 2);
  await look("preview");
  await send("2");
  await end("Done");
  must(/Rows removed\s*[1-9]/.test(await page.textContent("main")), "rows were removed");
  await look("request-done");

  await page.goto(`${origin}/requests`);
  await look("requests");
  await page.fill("#distinct_id", "nobody-zq7-2");
  await page.click("text=Find this person's requests");
  must((await page.locator("tbody tr").count()) === 1, "the person's one request is found");
  must(!page.url().includes("zq7"), "the id is in no address");
  await look("requests-searched");

  await page.goto(`${origin}/suppression`);
  await page.fill("#distinct_id", "nobody-zq7-4");
  await page.click("main button.main");
  await look("suppression");
  await page.goto(`${origin}/people`);
  await page.fill("input[type=email]", "bob@example.com");
  await page.click("text=Add a person");
  await look("people");
  await page.goto(`${origin}/audit`);
  await page.click("text=Check the seals");
  must((await page.textContent("main")).includes("seals hold"), "the audit log holds");
  await look("audit");
  for (const [path, name] of [["/developers", "developers"], ["/nowhere", "nowhere"]]) {
    await page.goto(origin + path);
    await look(name);
  }
  await page.goto(`${origin}/settings`);
  await look("settings-empty");
  await page.fill("#name", "Nightly batch");
  await page.click("text=Generate a token");
  const token = await page.textContent("#token");
  await look("settings");

  // The keyboard alone: the first stop skips to the content.
  await page.goto(`${origin}/requests`);
  await page.keyboard.press("Tab");
  const skip = page.locator(".skip");
  must((await skip.boundingBox()).x >= 0, "the first stop of the keyboard is seen");
  await browser.close();
  must(refused.length === 0, refused.join("\n"));
  must(findings.length === 0, findings.join("\n"));
  console.log(token);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
