"""Uses the playground like a person: types a query, runs it, reads the answer, and looks at the schema and the history.

It observes the page from outside only, because the page's policy forbids evaluating scripts in it.

Usage: playground.py BASE_URL CHROMIUM [ARGUMENT ...]; if SCREENSHOT is set in the environment, a screenshot is written to that file."""

import json
import os
import sys

from playwright.sync_api import expect, sync_playwright

base, chromium, *arguments = sys.argv[1:]
found = {"elsewhere": [], "complaints": []}

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
    page = browser.new_page(viewport={"width": 1400, "height": 800})
    page.on("request", lambda request: request.url.startswith((base, "data:")) or found["elsewhere"].append(request.url))
    page.on("console", lambda message: message.type == "error" and found["complaints"].append(message.text))
    page.on("pageerror", lambda error: found["complaints"].append(str(error)))
    page.goto(base + "/playground")

    # The examples are made from the definitions.
    page.wait_for_selector("#examples option:nth-child(4)", state="attached")
    found["examples"] = page.locator("#examples option").all_text_contents()

    page.fill("#query", "")
    page.type("#query", 'query($ids: [ID!]!) { getFeatures(entityIds: $ids, featureNames: ["spend:total_1h"]) { entityId features } }')
    page.fill("#variables", '{"ids": ["7"]}')
    page.click("#run")
    expect(page.locator("#status")).to_contain_text("200 in ", timeout=30_000)
    found["result"] = json.loads(page.text_content("#result"))
    found["status"] = page.text_content("#status")
    if "SCREENSHOT" in os.environ:
        page.screenshot(path=os.environ["SCREENSHOT"])

    page.fill("#query", "{ nothing }")
    page.press("#query", "Control+Enter")
    expect(page.locator("#status")).to_have_class("bad", timeout=30_000)
    found["error"] = json.loads(page.text_content("#result"))["errors"][0]["extensions"]["code"]

    page.wait_for_selector("#types details", state="attached")
    page.fill("#search", "eventTime")
    found["types"] = [one.get_attribute("id") for one in page.locator("#types details:not([hidden])").all()]

    page.click("#show-history")
    page.click("#asked li:nth-child(2) button")
    found["again"] = page.input_value("#query").startswith("query($ids: [ID!]!)")
    browser.close()

print(json.dumps(found))
