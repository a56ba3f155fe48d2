/** The command seat: every case as it comes, the map, and one key to say "seen". */

import { arrange, clockTime, h } from "./dom.js";
import { CaseDetail } from "./detail.js";
import { apply, lang, onLanguage, pick, switchLanguage, t, tell } from "./i18n.js";
import { CityMap } from "./map.js";
import { Feed, getJson, postJson, Refused } from "./net.js";
import { askReason, LinkState } from "./parts.js";

const $ = (id) => document.getElementById(id);
const cases = new Map();
const rows = new Map();
const link = new LinkState();
let skewMs = 0; // the service's clock minus ours
let selectedId = null;
let city;
let detail;
let sound = localStorage.getItem("sound") === "on";
let audio;

const now = () => Date.now() + skewMs;
const selected = () => cases.get(selectedId);

/** Open ones first, those nobody has seen before the others, then by urgency, then the newest. */
function order(a, b) {
  return (
    b.is_open - a.is_open ||
    a.is_acknowledged - b.is_acknowledged ||
    a.priority.localeCompare(b.priority) ||
    b.opened_at_ms - a.opened_at_ms
  );
}

function take(one) {
  const before = cases.get(one.incident_id);
  if (before && before.seq > one.seq) return;
  cases.set(one.incident_id, one);
  const rings = one.is_open && !one.is_acknowledged && (!before || before.is_acknowledged || !before.is_open);
  if (!rings) return;
  $("announce").textContent = `${t("newAlert")}: ${one.priority}, ${pick(one.headline)}`;
  beep(one.priority);
  if (!selected()?.is_open || selected()?.is_acknowledged) select(one.incident_id);
}

// --- the list -----------------------------------------------------------------------------------------------------

function rowOf(one) {
  if (!rows.has(one.incident_id)) {
    const button = h("button", { type: "button", class: "row", onclick: () => select(one.incident_id, true) });
    rows.set(one.incident_id, { node: h("li", {}, button), button });
  }
  const row = rows.get(one.incident_id);
  const state = [one.priority, one.is_open ? "" : "over", one.is_open && !one.is_acknowledged ? "ringing" : ""];
  row.button.className = `row ${state.join(" ")}`;
  row.button.dataset.incident = one.incident_id;
  row.button.setAttribute("aria-current", String(one.incident_id === selectedId));
  const key = JSON.stringify([one.seq, one.is_acknowledged, one.state, lang()]);
  if (row.key !== key) {
    row.key = key;
    row.age = h("span", { class: "age" });
    row.button.replaceChildren(
      h("span", { class: "prio" }, one.priority),
      h("span", { class: "what" },
        h("strong", {}, pick(one.category_name)), h("span", {}, pick(one.place))),
      h("span", { class: "side" }, row.age, h("span", { class: `chip ${one.state}` }, tell("state", one.state))),
    );
  }
  row.age.textContent = clockTime(one.opened_at_ms);
  return row.node;
}

function showList() {
  const sorted = [...cases.values()].sort(order);
  arrange($("cases"), sorted.map(rowOf));
  const open = sorted.filter((one) => one.is_open);
  $("empty").hidden = sorted.length > 0;
  $("total").textContent = `${open.length} / ${sorted.length}`;
  $("counts").replaceChildren(
    ...["P1", "P2", "P3", "P4"].map((priority) => {
      const count = open.filter((one) => one.priority === priority).length;
      return h("li", { class: `${priority}${count ? "" : " zero"}` }, h("b", {}, priority), String(count));
    }),
  );
  const waiting = open.filter((one) => !one.is_acknowledged).length;
  document.title = (waiting ? `(${waiting}) ` : "") + t("title");
}

function show() {
  showList();
  detail.show(selected(), now());
  city?.showIncidents([...cases.values()].filter((one) => one.is_open || one.incident_id === selectedId), selectedId);
  city?.showScopes(selected()?.tellings ?? []);
}

function select(incidentId, fromPerson = false) {
  const isOther = selectedId !== incidentId;
  selectedId = incidentId;
  show();
  if (isOther && selected()) city?.focus(selected(), selected().tellings);
  if (fromPerson) rows.get(incidentId)?.button.scrollIntoView({ block: "nearest" });
}

function step(by) {
  const ids = [...cases.values()].sort(order).map((one) => one.incident_id);
  if (!ids.length) return;
  const index = ids.indexOf(selectedId);
  const next = ids[Math.min(ids.length - 1, Math.max(0, index < 0 ? 0 : index + by))];
  select(next, true);
  rows.get(next)?.button.focus();
}

// --- decisions ----------------------------------------------------------------------------------------------------

/** What holds whatever has come in meanwhile: seconds count, and the stream refuses what it must. */
const IN_A_HURRY = new Set(["acknowledge", "investigate"]);
const NEEDS_REASON = new Set(["clear", "close", "cancel", "reopen"]);

async function decide(kind) {
  const one = selected();
  if (!one || !detail.may(kind, one)) return;
  const reason = NEEDS_REASON.has(kind) ? await askReason(kind, t(kind)) : "";
  if (reason === null) return;
  detail.problem("");
  try {
    const path = `/api/incidents/${encodeURIComponent(one.incident_id)}/decisions`;
    take(await postJson(path, { kind, expected_revision: IN_A_HURRY.has(kind) ? 0 : one.revision, reason }));
    show();
  } catch (error) {
    const isStale = error instanceof Refused && error.status === 409;
    detail.problem(isStale ? t("changedNotice") : t("failed", { e: error.message }));
  }
}

const KEYS = {
  a: () => decide("acknowledge"),
  i: () => decide("investigate"),
  c: () => decide("confirm"),
  x: () => decide("clear"),
  z: () => decide("close"),
  l: switchLanguage,
  arrowdown: () => step(1),
  arrowup: () => step(-1),
  j: () => step(1),
  k: () => step(-1),
};

addEventListener("keydown", (event) => {
  const inField = event.target.closest?.("input, textarea, select, dialog, #map");
  const action = KEYS[event.key.toLowerCase()];
  if (!action || inField || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
});

// --- sound, language, clock -----------------------------------------------------------------------------------------

function beep(priority) {
  if (!sound) return;
  audio ??= new AudioContext();
  const times = priority === "P1" ? 3 : 1;
  for (let i = 0; i < times; i += 1) {
    const [tone, gain] = [audio.createOscillator(), audio.createGain()];
    tone.frequency.value = priority === "P1" ? 880 : 660;
    gain.gain.setValueAtTime(0.15, audio.currentTime + i * 0.25);
    gain.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + i * 0.25 + 0.2);
    tone.connect(gain).connect(audio.destination);
    tone.start(audio.currentTime + i * 0.25);
    tone.stop(audio.currentTime + i * 0.25 + 0.2);
  }
}

function showSound() {
  $("sound").textContent = t(sound ? "soundOn" : "soundOff");
  $("sound").setAttribute("aria-pressed", String(sound));
}

$("sound").addEventListener("click", () => {
  sound = !sound;
  localStorage.setItem("sound", sound ? "on" : "off");
  showSound();
  beep("P2");
});
$("lang").addEventListener("click", switchLanguage);
$("whole").addEventListener("click", () => city?.whole());
onLanguage(() => {
  showSound();
  link.show();
  show();
});

const HEALTH_MS = 5_000;

async function checkHealth() {
  try {
    const health = await getJson("/api/health");
    link.setBroker(health.broker_up);
    link.setSilent(health.canaries.filter((one) => one.is_silent).map((one) => one.device_id));
    city.showHealth(health);
  } catch {
    // The feed says by itself that the service is gone.
  } finally {
    setTimeout(checkHealth, HEALTH_MS);
  }
}

function tick() {
  $("clock").textContent = clockTime(now());
  detail.tick(now());
}

// --- start ----------------------------------------------------------------------------------------------------------

async function start() {
  apply();
  showSound();
  const [list, places] = await Promise.all([getJson("/api/incidents"), getJson("/api/places")]);
  skewMs = list.now_ms - Date.now();
  detail = new CaseDetail({ decide, demo: list.demo });
  city = new CityMap($("map"), "/api/places", places, { onPick: (id) => select(id, true) });
  for (const one of list.cases) cases.set(one.incident_id, one);
  const first = list.cases.filter((one) => one.is_open).sort(order)[0];
  if (first) select(first.incident_id);
  else show();
  setInterval(tick, 1_000);
  tick();
  checkHealth();
  new Feed("/api/feed", list.cursor, {
    onState: (live) => link.set(live),
    onEvent: (news) => {
      skewMs = news.now_ms - Date.now();
      for (const one of news.cases) take(one);
      show();
    },
  });
}

start();
