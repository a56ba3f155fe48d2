/** The officer's page, made for a phone: my alerts, yes or no, where it is and what it looks like. */

import { arrange, clockTime, h } from "./dom.js";
import { apply, lang, list, onLanguage, pick, switchLanguage, t, tell } from "./i18n.js";
import { CityMap } from "./map.js";
import { Feed, getJson, postJson } from "./net.js";
import { askReason, LinkState, picture } from "./parts.js";

const $ = (id) => document.getElementById(id);
const API = `${location.pathname.replace(/\/$/, "")}/api`;
const alerts = new Map();
const cards = new Map();
const link = new LinkState();
let name;
let posts = [];
let places;
let openId = null;
let shown; // the one map, which moves into the open card

const has = (one, kind) => one.telling.marks.some((mark) => mark.kind === kind);

function order(a, b) {
  return (
    b.is_open - a.is_open ||
    (a.telling.answer === "declined") - (b.telling.answer === "declined") ||
    a.priority.localeCompare(b.priority) ||
    b.telling.intended_ms - a.telling.intended_ms
  );
}

async function say(one, kind, reason = "") {
  try {
    take(await postJson(`${API}/alerts/${encodeURIComponent(one.alert_id)}/receipts`, { kind, reason }));
    show();
  } catch (error) {
    const card = cards.get(one.alert_id);
    card.problem.textContent = t("failed", { e: error.message });
    card.problem.hidden = false;
  }
}

function take(one) {
  const isNew = !alerts.has(one.alert_id);
  alerts.set(one.alert_id, one);
  if (!isNew || one.telling.answer || !one.is_open) return;
  $("announce").textContent = `${t("newAlert")}: ${one.priority}, ${pick(one.headline)}`;
  navigator.vibrate?.(one.priority === "P1" ? [300, 100, 300] : [200]);
  openId = one.alert_id;
}

/** Tell the service what this device and its owner have got, once each. */
function confirmReceipt() {
  for (const one of alerts.values()) {
    if (!one.is_open || cards.get(one.alert_id)?.told) continue;
    const kind = has(one, "delivered") ? "read" : "delivered";
    if (has(one, kind) || (kind === "read" && document.hidden)) continue;
    cards.get(one.alert_id).told = true;
    say(one, kind).finally(() => { cards.get(one.alert_id).told = false; confirmReceipt(); });
  }
}

async function decline(one) {
  const reason = await askReason("decline", t("decline"));
  if (reason !== null) await say(one, "declined", reason);
}

// --- cards --------------------------------------------------------------------------------------------------------

function cardOf(one) {
  if (!cards.has(one.alert_id)) {
    const card = {
      head: h("button", { type: "button", class: "cardhead", onclick: () => { openId = openId === one.alert_id ? null : one.alert_id; show(); } }),
      body: h("div", { class: "cardbody" }),
      problem: h("p", { class: "problem", role: "alert", hidden: true }),
      map: h("div", { class: "smallmap" }),
      pictures: new Map(),
    };
    card.node = h("li", {}, card.head, card.problem, card.body);
    cards.set(one.alert_id, card);
  }
  const card = cards.get(one.alert_id);
  const isOpen = openId === one.alert_id;
  card.node.className = `card ${one.priority} ${one.is_open ? "" : "over"}`;
  card.node.dataset.alert = one.alert_id;
  card.head.setAttribute("aria-expanded", String(isOpen));
  card.head.replaceChildren(
    h("span", { class: "prio" }, one.priority),
    h("span", { class: "what" }, h("strong", {}, pick(one.category_name)), h("span", {}, pick(one.place))),
    h("span", { class: "side" }, h("span", { class: "age" }, clockTime(one.telling.intended_ms)),
      one.telling.answer && h("span", { class: `chip ${one.telling.answer}` }, tell("mark", one.telling.answer))),
  );
  card.body.hidden = !isOpen;
  if (isOpen) arrange(card.body, body(one, card));
  return card.node;
}

function body(one, card) {
  const key = JSON.stringify([one, lang()]);
  if (card.key !== key) {
    card.key = key;
    card.parts = [buttons(one), notice(one), ...pictures(one, card), card.map, facts(one)].filter(Boolean);
  }
  return card.parts;
}

function notice(one) {
  if (!one.is_open) return h("p", { class: "notice" }, `${t("closedCase")} (${tell("state", one.state)}). ${t("standDown")}`);
  if (!one.taken_by.length) return null;
  return h("p", { class: "notice" }, t("takenBy", { who: one.taken_by.map(pick).join(", ") }));
}

function buttons(one) {
  if (!one.is_open) return null;
  const accepted = one.telling.answer === "accepted";
  const rows = [];
  if (!accepted) rows.push(h("button", { type: "button", class: "accept", onclick: () => say(one, "accepted") }, t("accept")));
  if (accepted && !has(one, "arrived")) rows.push(h("button", { type: "button", class: "accept", onclick: () => say(one, "arrived") }, t("arrived")));
  if (accepted && has(one, "arrived") && !has(one, "done")) rows.push(h("button", { type: "button", class: "accept", onclick: () => say(one, "done") }, t("done")));
  if (one.telling.answer !== "declined" && !has(one, "done")) rows.push(h("button", { type: "button", class: "decline", onclick: () => decline(one) }, t(accepted ? "handBack" : "decline")));
  return rows.length ? h("div", { class: "answers" }, ...rows) : null;
}

function pictures(one, card) {
  return one.evidence.slice(-2).reverse().map((evidence) => {
    if (!card.pictures.has(evidence.evidence_id)) card.pictures.set(evidence.evidence_id, h("figure", {}, picture(API, evidence, { label: pick(one.headline) }), h("figcaption", {})));
    const figure = card.pictures.get(evidence.evidence_id);
    figure.querySelector("figcaption").textContent = [clockTime(evidence.captured_at_ms), evidence.redaction === "outside_box" && t("redacted")].filter(Boolean).join(" · ");
    return figure;
  });
}

function facts(one) {
  const marks = one.telling.marks.map((mark) => `${tell("mark", mark.kind)} ${clockTime(mark.at_ms)}`);
  return h("dl", { class: "facts" },
    h("dt", {}, t("where")), h("dd", {}, [...new Set(Object.values(one.area_names).map(pick))].join(" · "), ` (${t("accuracy", { m: Math.round(one.radius_m) })})`),
    h("dt", {}, t("whyMe")), h("dd", {}, [pick(one.telling.post_name), list(one.telling.duties)].filter(Boolean).join(` · ${t("looksAfter")} `), h("ul", { class: "reasons" }, ...one.telling.reasons.map((reason) => h("li", { title: reason.code }, pick(reason.text))))),
    one.assistance && [h("dt", {}, t("assistance")), h("dd", { class: "assistance" }, pick(one.assistance))],
    one.domain.zh && [h("dt", {}, t("duty")), h("dd", {}, pick(one.domain))],
    one.basis.zh && [h("dt", {}, t("basis")), h("dd", {}, `${pick(one.basis)} · ${t("leads")} ${pick(one.lead_unit)}`)],
    marks.length ? [h("dt", {}, t("history")), h("dd", {}, marks.join(" · "))] : []);
}

function showMap() {
  const one = alerts.get(openId);
  if (!one) return;
  const card = cards.get(openId);
  if (shown?.id !== openId) {
    shown?.city.map?.remove();
    card.map.replaceChildren();
    shown = { id: openId, city: new CityMap(card.map, `${API}/places`, places, { controls: false }) };
  }
  shown.city.resized();
  shown.city.showIncidents([{ ...one, is_acknowledged: true }], one.incident_id);
  shown.city.showScopes([one.telling]);
  shown.city.focus(one, [one.telling]);
}

function show() {
  const sorted = [...alerts.values()].sort(order);
  if (!alerts.has(openId)) openId = sorted.find((one) => one.is_open)?.alert_id ?? null;
  arrange($("alerts"), sorted.map(cardOf));
  $("empty").hidden = sorted.length > 0;
  $("name").textContent = pick(name);
  $("posts").hidden = !posts.length;
  $("held").replaceChildren(...posts.map((post) => h("li", {}, `${pick(post.name)} · ${list(post.duties)}`)));
  const waiting = sorted.filter((one) => one.is_open && !one.telling.answer).length;
  document.title = (waiting ? `(${waiting}) ` : "") + t("officerTitle");
  showMap();
  confirmReceipt();
}

document.addEventListener("visibilitychange", () => confirmReceipt());
$("lang").addEventListener("click", switchLanguage);
onLanguage(() => { link.show(); show(); });

async function start() {
  apply();
  const [mine, map] = await Promise.all([getJson(`${API}/alerts`), getJson(`${API}/places`)]);
  [name, posts, places] = [mine.name, mine.posts, map];
  for (const one of mine.alerts) alerts.set(one.alert_id, one);
  show();
  new Feed(`${API}/feed`, mine.cursor, {
    onState: (live) => link.set(live),
    onEvent: (news) => { for (const one of news.alerts) take(one); show(); },
  });
}

start();
