// The playground: sends the query in the editor to this server, and shows the answer and the schema.
"use strict";

const ENDPOINT = "graphql";
const MOST_REMEMBERED = 30;
const byId = (id) => document.getElementById(id);

/** Makes an element with these properties and children. Texts are inserted as text, never as markup. */
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

async function ask(query, variables) {
  const response = await fetch(ENDPOINT, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  return { status: response.status, text: await response.text() };
}

function say(text, bad = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", bad);
}

async function run() {
  const query = byId("query").value;
  const text = byId("variables").value.trim();
  let variables;
  try {
    variables = text ? JSON.parse(text) : undefined;
  } catch (error) {
    say(`Variables: ${error.message}`, true);
    return;
  }
  say("running…");
  const begun = performance.now();
  try {
    const answer = await ask(query, variables);
    const took = Math.round(performance.now() - begun);
    let shown = answer.text;
    let errors = 0;
    try {
      const parsed = JSON.parse(answer.text);
      errors = parsed.errors ? parsed.errors.length : 0;
      shown = JSON.stringify(parsed, null, 2);
    } catch {
      // The answer is not JSON, and is shown unchanged.
    }
    byId("result").textContent = shown;
    const told = errors === 0 ? "" : `, ${errors} error${errors > 1 ? "s" : ""}`;
    say(`${answer.status} in ${took} ms, ${answer.text.length.toLocaleString()} characters${told}`, answer.status !== 200 || errors > 0);
    remember({ query, variables: text });
  } catch (error) {
    byId("result").textContent = "";
    say(`No answer: ${error.message}`, true);
  }
}

// The history, which is kept in this browser only.

function remembered() {
  try {
    return JSON.parse(localStorage.getItem("millrace-queries")) || [];
  } catch {
    return [];
  }
}

function remember(entry) {
  const others = remembered().filter((old) => old.query !== entry.query || old.variables !== entry.variables);
  keep([entry, ...others].slice(0, MOST_REMEMBERED));
}

function keep(entries) {
  try {
    localStorage.setItem("millrace-queries", JSON.stringify(entries));
  } catch {
    // A browser without storage has no history.
  }
  showHistory();
}

function showHistory() {
  const line = (entry) => {
    const button = element("button", { type: "button", title: entry.query, textContent: entry.query.replace(/\s+/g, " ") });
    button.addEventListener("click", () => edit(entry));
    return element("li", {}, button);
  };
  byId("asked").replaceChildren(...remembered().map(line));
}

function edit({ query, variables }) {
  byId("query").value = query;
  byId("variables").value = variables;
}

// The schema of the server.

const TYPE = "name kind ofType { name kind ofType { name kind ofType { name kind } } }";
const INTROSPECTION = `{ __schema { types { name kind description
  fields { name description args { name description defaultValue type { ${TYPE} } } type { ${TYPE} } }
  enumValues { name description } } } }`;

function typeName(type) {
  if (type.kind === "NON_NULL") return `${typeName(type.ofType)}!`;
  if (type.kind === "LIST") return `[${typeName(type.ofType)}]`;
  return type.name;
}

function innermost(type) {
  return type.ofType ? innermost(type.ofType) : type.name;
}

function typeLink(type) {
  const link = element("a", { href: `#type-${innermost(type)}`, textContent: typeName(type) });
  link.addEventListener("click", () => {
    const target = byId(`type-${innermost(type)}`);
    if (target) target.open = true;
  });
  return link;
}

function about(text) {
  return text ? [element("p", { className: "about", textContent: text })] : [];
}

function showField(field) {
  const code = element("code", {}, field.name);
  const args = field.args || [];
  args.forEach((argument, index) => {
    const value = argument.defaultValue ? ` = ${argument.defaultValue}` : "";
    code.append(index === 0 ? "(" : ", ", `${argument.name}: `, typeLink(argument.type), value);
  });
  if (args.length > 0) code.append(")");
  code.append(": ", typeLink(field.type));
  const ofArguments = args.filter((argument) => argument.description);
  const notes = ofArguments.flatMap((argument) => about(`${argument.name}: ${argument.description}`));
  return element("div", { className: "member" }, code, ...about(field.description), ...notes);
}

function showType(type) {
  const summary = element("summary", {}, `${type.name} `, element("small", { textContent: type.kind.toLowerCase() }));
  const values = (type.enumValues || []).map((value) =>
    element("div", { className: "member" }, element("code", { textContent: value.name }), ...about(value.description)));
  const shown = element("details", { id: `type-${type.name}` }, summary, ...about(type.description),
    ...(type.fields || []).map(showField), ...values);
  shown.open = type.name === "Query";
  shown.dataset.text = shown.textContent.toLowerCase();
  return shown;
}

async function showSchema() {
  const answer = await ask(INTROSPECTION);
  if (answer.status !== 200) {
    byId("types").replaceChildren(...about(`The schema cannot be read now: ${answer.text}`));
    return;
  }
  const types = JSON.parse(answer.text).data.__schema.types.filter((type) => !type.name.startsWith("__"));
  types.sort((one, other) => (other.name === "Query") - (one.name === "Query") || one.name.localeCompare(other.name));
  byId("types").replaceChildren(...types.map(showType));
}

function search() {
  const wanted = byId("search").value.trim().toLowerCase();
  for (const type of byId("types").children) {
    type.hidden = wanted !== "" && !(type.dataset.text || "").includes(wanted);
    if (wanted !== "" && !type.hidden) type.open = true;
  }
}

// Examples, made from the definitions of this server.

const CATALOGUE = "{ views { name version entity store features { reference type window { kind length } } } services { name versions { reference entity } } }";

async function showExamples() {
  const answer = await ask(CATALOGUE);
  if (answer.status !== 200) return [];
  const { views, services } = JSON.parse(answer.text).data;
  const examples = [["What is declared", { query: pretty(CATALOGUE), variables: "" }]];
  const variables = (values) => JSON.stringify(values, null, 2);
  for (const service of services.flatMap((one) => one.versions)) {
    examples.push([`Service ${service.reference}`, {
      query: `query Features($keys: [ID!]!) {\n  features(entity: "${service.entity}", keys: $keys, service: "${service.reference}") {\n    key\n    status\n    values { name value status eventTime source version reason }\n  }\n}\n`,
      variables: variables({ keys: ["1", "2"] }),
    }]);
  }
  for (const view of views) {
    examples.push([`View ${view.name}@${view.version}`, {
      query: "query Features($ids: [ID!]!, $names: [String!]!) {\n  getFeatures(entityIds: $ids, featureNames: $names) {\n    entityId\n    features\n  }\n}\n",
      variables: variables({ ids: ["1", "2"], names: view.features.map((feature) => feature.reference) }),
    }]);
  }
  examples.forEach(([name], index) => byId("examples").append(element("option", { value: String(index), textContent: name })));
  byId("examples").addEventListener("change", (event) => {
    if (event.target.value !== "") edit(examples[Number(event.target.value)][1]);
  });
  return examples;
}

/** Puts braces on their own lines. */
function pretty(query) {
  let depth = 0;
  const words = query.replace(/([{}])/g, " $1 ").trim().split(/\s+/);
  const lines = words.map((word) => {
    if (word === "}") depth -= 1;
    const line = "  ".repeat(depth) + word;
    if (word === "{") depth += 1;
    return line;
  });
  return `${lines.join("\n").replace(/\n\s*\{/g, " {")}\n`;
}

// Editing.

function onKey(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    run();
  } else if (event.key === "Enter") {
    // A new line is indented like the last one, and deeper after an opening bracket.
    const { value, selectionStart, selectionEnd } = event.target;
    const line = value.slice(0, selectionStart).split("\n").pop();
    const deeper = /[{([]\s*$/.test(line) ? "  " : "";
    event.preventDefault();
    event.target.setRangeText(`\n${line.match(/^\s*/)[0]}${deeper}`, selectionStart, selectionEnd, "end");
  }
}

function choose(panel) {
  for (const name of ["schema", "history"]) {
    byId(name).hidden = name !== panel;
    byId(`show-${name}`).setAttribute("aria-selected", String(name === panel));
  }
}

function start() {
  byId("run").addEventListener("click", run);
  byId("query").addEventListener("keydown", onKey);
  byId("variables").addEventListener("keydown", onKey);
  byId("search").addEventListener("input", search);
  byId("show-schema").addEventListener("click", () => choose("schema"));
  byId("show-history").addEventListener("click", () => choose("history"));
  byId("forget").addEventListener("click", () => keep([]));
  showHistory();
  showSchema().catch((error) => say(`The schema cannot be read: ${error.message}`, true));
  const last = remembered()[0];
  if (last) edit(last);
  showExamples().then((examples) => {
    if (!last && byId("query").value === "" && examples.length > 0) edit(examples[Math.min(1, examples.length - 1)][1]);
  }).catch(() => {});
}

start();
