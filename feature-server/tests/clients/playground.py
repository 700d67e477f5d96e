"""Uses the playground as a person would: types a query, runs it, reads the answer, looks into the schema and the history.

Usage: playground.py BASE_URL CHROMIUM [ARGUMENT ...]; with SCREENSHOT in the environment, a picture is written there."""

import json
import os
import sys

from playwright.sync_api import sync_playwright

base, chromium, *arguments = sys.argv[1:]
found = {"elsewhere": [], "complaints": []}

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
    page = browser.new_page(viewport={"width": 1400, "height": 800})
    page.on("request", lambda request: request.url.startswith((base, "data:")) or found["elsewhere"].append(request.url))
    page.on("console", lambda message: message.type == "error" and found["complaints"].append(message.text))
    page.on("pageerror", lambda error: found["complaints"].append(str(error)))
    page.goto(base + "/playground")

    # The examples are made from what is declared.
    page.wait_for_selector("#examples option:nth-child(4)", state="attached")
    found["examples"] = page.locator("#examples option").all_text_contents()

    page.fill("#query", "")
    page.type("#query", 'query($ids: [ID!]!) { getFeatures(entityIds: $ids, featureNames: ["spend:total_1h"]) { entityId features } }')
    page.fill("#variables", '{"ids": ["7"]}')
    page.click("#run")
    page.wait_for_function("document.querySelector('#result').textContent !== ''")
    found["result"] = json.loads(page.text_content("#result"))
    found["status"] = page.text_content("#status")
    if "SCREENSHOT" in os.environ:
        page.screenshot(path=os.environ["SCREENSHOT"])

    page.fill("#query", "{ nothing }")
    page.press("#query", "Control+Enter")
    page.wait_for_function("document.querySelector('#status').classList.contains('bad')")
    found["error"] = json.loads(page.text_content("#result"))["errors"][0]["extensions"]["code"]

    page.wait_for_selector("#types details", state="attached")
    page.fill("#search", "eventTime")
    found["types"] = page.eval_on_selector_all("#types details:not([hidden])", "found => found.map((one) => one.id)")

    page.click("#show-history")
    page.click("#asked li:nth-child(2) button")
    found["again"] = page.input_value("#query").startswith("query($ids: [ID!]!)")
    browser.close()

print(json.dumps(found))
