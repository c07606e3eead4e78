// The live page: asks for what the filters say, shows what comes, and tells when nothing comes.

import { Table, element, setClock, span, tick, when } from "./table.js";

const at = (id) => document.getElementById(id);
const FILTERS = ["namespace", "class", "node", "provider", "state", "text"];
const asked = new Map([...new URLSearchParams(location.search)].filter(([, value]) => value));
const listed = (names, more) => names.join(", ") + (more ? ` and ${more} more` : "");

let stream = null;
let again = 0;

const volumes = new Table("volumes", [
  { title: "Namespace", sort: "namespace", cell: (row) => row.namespace },
  { title: "Pod", sort: "pod", cell: (row) => row.pod },
  { title: "Class", sort: "class", cell: (row) => row.class },
  { title: "Backend", sort: "provider", cell: (row) => row.provider },
  { title: "Node", sort: "node", cell: (row) => row.node },
  { title: "State", sort: "state", cell: (row) => row.state, tone: (row) => row.state },
  { title: "Confirmed", sort: "confirmed", cell: (row) => when(row.confirmed) },
  { title: "Behind", sort: "behind", cell: (row) => when(row.behind, "since"), tone: (row) => (row.behind ? "warn" : "") },
  { title: "Objects", cell: (row) => listed(row.objects.map(([name, version]) => `${name}@${version.slice(0, 12)}`), row.more) },
], {
  empty: "No volumes.",
  order: asked.get("sort") ?? "namespace",
  onOrder: (order) => ask({ sort: order, page: "" }),
  onPage: (page) => ask({ page: String(page) }),
});

const contents = new Table("contents", [
  { title: "Classes", sort: "class", cell: (row) => listed(row.classes, row.more_classes) },
  { title: "Backend", sort: "provider", cell: (row) => row.provider },
  { title: "Due", sort: "due", cell: due },
  { title: "Every", cell: (row) => (row.interval_s ? span(row.interval_s) : "–") },
  { title: "Volumes", sort: "volumes", cell: (row) => (row.others ? `${row.volumes} and ${row.others} not shown` : String(row.volumes)) },
  { title: "Failing", sort: "failing", cell: (row) => String(row.failing), tone: (row) => (row.failing ? "bad" : "") },
  { title: "Confirmed", sort: "confirmed", cell: (row) => when(row.confirmed) },
  { title: "Objects", cell: (row) => listed(row.objects, row.more_objects) },
], {
  empty: "No contents.",
  order: asked.get("contents") ?? "due",
  onOrder: (order) => ask({ contents: order, contents_page: "" }),
  onPage: (page) => ask({ contents_page: String(page) }),
});

const backends = new Table("backends", [
  { title: "Backend", cell: (row) => row.provider },
  { title: "Volumes", cell: (row) => String(row.volumes) },
  { title: "Contents", cell: (row) => String(row.contents) },
  { title: "Failing", cell: (row) => String(row.failing), tone: (row) => (row.failing ? "bad" : "ok") },
  { title: "Stale", cell: (row) => String(row.stale), tone: (row) => (row.stale ? "warn" : "ok") },
  { title: "Confirmed", cell: (row) => when(row.confirmed) },
  { title: "Failures", cell: (row) => row.reasons.map(([reason, count]) => `${reason} ${count}`).join(", ") || "none" },
], { empty: "No backends." });

function due(row) {
  if (!row.scheduled) return "not scheduled";
  return row.claimed ? "in work" : when(row.due, "due", "when it changes");
}

const SHOW = {
  summary(told) {
    number("volumes", told.volumes);
    number("contents", told.contents);
    number("failing", told.failing, "bad");
    number("stale", told.stale, "warn");
    number("behind", told.behind, "warn");
    number("late", told.late, "warn");
    at("hidden-note").textContent = hidden(told);
  },
  lag: drawLag,
  backends: (told) => backends.show({ order: told.map((row) => row.provider), rows: Object.fromEntries(told.map((row) => [row.provider, row])) }),
  failures: (told) => at("failures").replaceChildren(...(told.length ? told.map(failure) : [element("li", { class: "hint" }, "None: every volume's last refresh went well.")])),
  choices(told) {
    for (const [name, values] of Object.entries(told)) {
      at(`${name}-choices`).replaceChildren(...values.map((value) => element("option", { value })));
    }
  },
  health(told) {
    at("viewer").textContent = told.viewer;
    problems(told.problems);
    const sources = Object.entries(told.sources).map(([name, up]) => `${name} ${up ? "heard" : "not heard"}`);
    at("sources").textContent = sources.length ? `Change events, at this rotator: ${sources.join(", ")}.` : "No change events are configured at this rotator: what changes is found by polling.";
  },
  volumes: (told) => volumes.show(told),
  contents: (told) => contents.show(told),
};

function number(name, count, tone) {
  const place = at(`n-${name}`);
  place.textContent = count.toLocaleString("en");
  place.className = count && tone ? tone : "";
}

const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

function hidden(told) {
  if (told.everywhere) return `You see all of ${counted(told.namespaces, "namespace")} with volumes.`;
  const unasked = told.unasked ? ` ${counted(told.unasked, "namespace")} were too many to ask about.` : "";
  return `You see ${counted(told.namespaces, "namespace")}. Not shown: ${counted(told.hidden_volumes, "volume")} and ${counted(told.hidden_contents, "content")} of others.${unasked}`;
}

function problems(texts) {
  at("problems").replaceChildren(...texts.map((text) => element("p", {}, text)));
}

function failure(told) {
  const head = element("p", {}, element("span", { class: "bad" }, told.reason), " ", when(told.at));
  const where = element("p", { class: "where" }, `${told.namespace}/${told.pod}, class ${told.class}, ${told.provider}, node ${told.node}`);
  return element("li", {}, head, where, element("p", {}, told.message), element("p", { class: "fix" }, told.fix));
}

function drawLag({ labels, counts, worst_s: worst }) {
  const svg = at("lag");
  const draw = (name, about, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(about)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  };
  const most = Math.max(1, ...counts);
  const bars = counts.flatMap((count, place) => {
    const height = count ? Math.max(2, (count / most) * 95) : 0;
    const middle = place * 60 + 30;
    return [
      draw("rect", { x: middle - 22, y: 120 - height, width: 44, height, class: place > 4 ? "far" : "" }),
      draw("text", { x: middle, y: 114 - height }, count.toLocaleString("en")),
      draw("text", { x: middle, y: 140, class: "label" }, place && place < labels.length - 1 ? `≤ ${labels[place]}` : labels[place]),
    ];
  });
  svg.replaceChildren(...bars);
  const behind = counts.slice(1).reduce((sum, count) => sum + count, 0);
  at("lag-text").textContent = behind
    ? `Behind: ${counted(behind, "volume")} without what was last asked for, the slowest for ${span(worst)}.`
    : "Every volume has what it was last asked to fetch.";
}

// ---- what is asked for

function search() {
  return new URLSearchParams([...asked].filter(([, value]) => value)).toString();
}

function ask(changes) {
  for (const [name, value] of Object.entries(changes)) asked.set(name, value);
  const text = search();
  history.replaceState(null, "", text ? `?${text}` : location.pathname);
  listen();
}

function listen() {
  clearTimeout(again);
  stream?.close();
  stream = new EventSource(`/ui/events?${search()}`);
  stream.addEventListener("news", ({ data }) => {
    const { now, ...news } = JSON.parse(data);
    setClock(now);
    board();
    for (const [name, told] of Object.entries(news)) SHOW[name]?.(told);
  });
  stream.addEventListener("trouble", ({ data }) => {
    at("state").textContent = "waiting";
    problems([JSON.parse(data).message]);
  });
  stream.addEventListener("ended", () => signIn("Your token has expired, or was taken back."));
  stream.addEventListener("error", lost);
}

async function lost() {
  if (stream.readyState !== EventSource.CLOSED) {
    at("state").textContent = "reconnecting";
    return;
  }
  // An event source does not say why it was refused.
  const answer = await fetch(`/ui/view?${search()}`).catch(() => null);
  if (answer?.status === 401) {
    signIn("");
  } else if (answer?.status === 400) {
    board();
    at("state").textContent = "refused";
    problems([await answer.text()]);
  } else {
    at("state").textContent = "reconnecting";
    if (answer && !answer.ok) problems([await answer.text()]);
    clearTimeout(again);
    again = setTimeout(listen, 3000);
  }
}

// ---- in and out

function board() {
  at("state").textContent = "live";
  at("sign-in").hidden = true;
  at("board").hidden = at("sign-out").hidden = false;
}

function signIn(why) {
  stream?.close();
  at("state").textContent = "signed out";
  at("viewer").textContent = "";
  at("board").hidden = at("sign-out").hidden = true;
  at("sign-in").hidden = false;
  at("sign-in-problem").textContent = why;
  for (const table of [volumes, contents, backends]) table.show({ total: 0, page: 1, pages: 1, order: [], rows: {} });
  at("failures").replaceChildren();
  for (const name of FILTERS) at(`${name}-choices`)?.replaceChildren();
  at("token").focus();
}

at("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = new URLSearchParams({ token: at("token").value.trim() });
  const answer = await fetch("/ui/login", { method: "POST", body }).catch(() => null);
  if (answer?.ok) {
    event.target.reset();
    at("sign-in-problem").textContent = "";
    listen();
  } else {
    at("sign-in-problem").textContent = answer ? await answer.text() : "The rotator does not answer.";
  }
});

at("sign-out").addEventListener("click", async () => {
  await fetch("/ui/logout", { method: "POST" }).catch(() => null);
  location.replace("/ui"); // nothing of what was shown stays in memory
});

let typed = 0;
function filtered() {
  const form = new FormData(at("filters"));
  ask({ ...Object.fromEntries(FILTERS.map((name) => [name, String(form.get(name) ?? "").trim()])), page: "", contents_page: "" });
}
at("filters").addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(filtered, 300);
});
at("filters").addEventListener("submit", (event) => event.preventDefault());
at("filters").addEventListener("reset", () => setTimeout(filtered));

for (const name of FILTERS) {
  if (asked.has(name)) at("filters").elements.namedItem(name).value = asked.get(name);
}
setInterval(tick, 1000);
listen();
