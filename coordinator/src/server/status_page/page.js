"use strict";
// Everything that comes from the coordinator is set as text, never as markup: names and messages are others' words.
const EVERY_MS = 2000, PATIENCE_MS = 5000, SVG = "http://www.w3.org/2000/svg";
const at = (id) => document.getElementById(id);
let seen = null, seenAt = 0;

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function drawn(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function span(ms) {
  if (ms === null || ms === undefined) return "–";
  const s = ms / 1000;
  if (s < 10) return s.toFixed(1) + " s";
  if (s < 120) return Math.round(s) + " s";
  if (s < 7200) return Math.round(s / 60) + " min";
  if (s < 172800) return Math.round(s / 3600) + " h";
  return Math.round(s / 86400) + " d";
}

function grouped(digits) {
  return String(digits).replace(/\B(?=(\d{3})+$)/g, ",");
}

// Units of ETH, which every rollup has as token 1; of others only L1 knows how many of the smallest unit make one.
const ETH = 1, ETH_DECIMALS = 18;

function decimal(amount, decimals) {
  const digits = amount.padStart(decimals + 1, "0");
  const rest = digits.slice(-decimals).replace(/0+$/, "");
  return grouped(digits.slice(0, -decimals)) + (rest && "." + rest);
}

// All digits, or the first four of them.
function rounded(amount, whole) {
  return whole || amount.length <= 4 ? amount : amount.slice(0, 4).padEnd(amount.length, "0");
}

function fees(billing, whole) {
  if (!billing) return whole ? "not known" : "–";
  const parts = billing.fees.map((fee) => {
    const amount = rounded(fee.amount, whole);
    return fee.token === ETH ? `${decimal(amount, ETH_DECIMALS)} ETH` : `${grouped(amount)} of token ${fee.token}`;
  });
  const more = billing.fee_tokens - billing.fees.length;
  if (more > 0) parts.push(`${more} more tokens`);
  return parts.join(whole ? "; " : ", ") || (whole ? "none" : "0");
}

function status(word) {
  return element("span", word.replace("_", " "), "status s-" + word.replace(/[^a-z_]/g, ""));
}

function facts(list, pairs) {
  list.replaceChildren(...pairs.map(([name, value]) => {
    const box = element("div");
    box.append(element("dt", name), element("dd", value));
    return box;
  }));
}

function rows(body, items, cells, none) {
  const heads = body.parentNode.tHead.rows[0].cells;
  const made = items.map((item) => {
    const row = element("tr");
    row.setAttribute("role", "row");
    for (const [i, cell] of cells(item).entries()) {
      const box = element("td", undefined, heads[i].className);
      box.setAttribute("role", "cell");
      box.dataset.name = heads[i].textContent;
      box.append(cell instanceof Node ? cell : document.createTextNode(cell));
      row.append(box);
    }
    return row;
  });
  if (!made.length) {
    const box = element("td", none, "dim");
    box.colSpan = heads.length;
    const row = element("tr");
    row.append(box);
    made.push(row);
  }
  // What is focused or selected stays so where nothing has changed.
  const fresh = element("tbody");
  fresh.append(...made);
  if (fresh.innerHTML !== body.innerHTML) body.replaceChildren(...made);
}

function link(batch) {
  const made = element("a", batch);
  made.href = "#" + encodeURIComponent(batch);
  return made;
}

function chart(box, label, points, kind) {
  const width = 480, height = 150, left = 40, bottom = 20, top = 12;
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  const most = Math.max(1, ...points.map((point) => point.y));
  const x = (part) => left + part * (width - left - 8), y = (value) => height - bottom - (value / most) * (height - bottom - top);
  const nothing = !points.some((point) => point.y > 0);
  for (const value of nothing ? [0] : [0, most / 2, most]) {
    svg.append(drawn("line", { class: "axis", x1: left, x2: width - 8, y1: y(value), y2: y(value) }));
    svg.append(drawn("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, most < 10 ? value.toFixed(1) : Math.round(value)));
  }
  for (const point of points) {
    const mark = kind === "bar"
      ? drawn("rect", { class: "bar", x: x(point.x) - 3, width: 5, y: y(point.y), height: Math.max(0, y(0) - y(point.y)) })
      : drawn("circle", { class: "dot", cx: x(point.x), cy: y(point.y), r: 3.5 });
    mark.append(drawn("title", {}, point.title));
    svg.append(mark);
  }
  const ends = kind === "bar" ? ["60 min ago", "now"] : ["older", "newest"];
  svg.append(drawn("text", { x: left, y: height - 5 }, ends[0]));
  svg.append(drawn("text", { x: width - 8, y: height - 5, "text-anchor": "end" }, ends[1]));
  if (nothing) {
    svg.append(drawn("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing was proven yet"));
  }
  box.replaceChildren(svg);
}

function charts(state) {
  const proven = state.batches.filter((batch) => batch.status === "proven" && batch.finished_ms);
  const minutes = new Array(60).fill(0);
  for (const batch of proven) {
    const ago = Math.floor((state.now_ms - batch.finished_ms) / 60000);
    if (ago >= 0 && ago < 60) minutes[59 - ago] += batch.operations;
  }
  const sum = minutes.reduce((a, b) => a + b, 0);
  chart(at("throughput"), `${sum} operations were proven in the last hour`, minutes.map((y, i) =>
    ({ x: (i + 0.5) / 60, y, title: `${59 - i} min ago: ${y} operations` })), "bar");
  const times = proven.slice().reverse().map((batch) => [batch.batch, (batch.finished_ms - batch.accepted_ms) / 1000]);
  const newest = times.length ? `; the newest took ${times[times.length - 1][1].toFixed(1)} s` : "";
  chart(at("latency"), `Times of ${times.length} batches${newest}`, times.map(([name, y], i) =>
    ({ x: times.length > 1 ? i / (times.length - 1) : 1, y, title: `${name}: ${y.toFixed(1)} s` })), "dot");
}

function show(state) {
  const info = state.service;
  at("service").textContent = `preset ${info.preset}` +
    (info.insecure_srs ? " — INSECURE development reference string" : "") +
    (state.leader ? ` — stands by: ${state.leader} leads, and alone shows workers and what is in hand` : "");
  const open = state.batches_open, seconds = (ms) => span(ms);
  facts(at("now"), [
    ["open batches", `${open} of ${info.batches_open_max} a rollup`],
    ["rollups", state.rollups.length],
    ["tasks ready", state.tasks.ready],
    ["tasks in hand", state.tasks.leased],
    ["workers", state.workers.length],
    ["still to prove", seconds(state.outstanding_device_ms) + " of a device"],
    ["oldest batch", open ? span(state.oldest_batch_ms) : "–"],
    ["accounts", state.accounts ?? "–"],
    ["proven", `${state.operations_proven} operations`],
    ["device per operation", state.operations_proven ? span(state.device_ms / state.operations_proven) : "–"],
  ]);
  charts(state);
  rows(at("batches"), state.batches, (b) => [link(b.batch), b.rollup, b.number, status(b.status), `${b.shards_done}/${b.shards}`, b.operations,
    span(state.now_ms - b.accepted_ms), b.finished_ms ? span(b.finished_ms - b.accepted_ms) : "–", span(b.device_ms),
    b.billing ? "≈ " + grouped(b.billing.l1_gas) : "–", fees(b.billing, false)], "No batch was accepted yet.");
  rows(at("rollups"), state.rollups, (r) => [r.name, status(r.state), r.weight, r.next_number, r.batches_open, r.chain_id, r.contract],
    "No rollup was created yet.");
  rows(at("workers"), state.workers, (w) => [w.worker, w.identity, w.devices, status(w.state), w.proves.join(", "), w.tasks.join(" ")],
    "No worker is connected.");
  rows(at("failures"), state.failures, (f) => [span(state.now_ms - f.at_ms) + " ago", f.task, f.worker, f.outcome, f.why], "None.");
}

function timeline(found) {
  const attempts = found.attempts;
  if (!attempts.length) {
    at("timeline").replaceChildren(element("p", "No attempt is remembered: none was made, or the coordinator has started since.", "dim"));
    return;
  }
  const begin = Math.min(...attempts.map((a) => a.began_ms)), end = Math.max(...attempts.map((a) => a.ended_ms ?? found.now_ms), begin + 1);
  const row = 20, left = 80, width = 960, height = attempts.length * row + 24;
  const x = (ms) => left + ((ms - begin) / (end - begin)) * (width - left - 8);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${attempts.length} attempts over ${span(end - begin)}` });
  attempts.forEach((a, i) => {
    const to = a.ended_ms ?? found.now_ms, how = a.outcome ?? "running";
    const kind = ["proven", "running", "unneeded"].includes(how) ? how : "lost";
    const bar = drawn("rect", { class: kind, x: x(a.began_ms), y: i * row + 4, height: row - 7, width: Math.max(2, x(to) - x(a.began_ms)) });
    const phases = a.phases.map((p) => `${p.phase} after ${span(p.at_ms - a.began_ms)}`).join(", ");
    bar.append(drawn("title", {}, `${a.task} ${a.worker}: ${how}, ${span(to - a.began_ms)}; ${phases}`));
    svg.append(drawn("text", { x: left - 5, y: i * row + 15, "text-anchor": "end" }, a.task), bar);
    for (const p of a.phases) {
      svg.append(drawn("line", { class: "axis", x1: x(p.at_ms), x2: x(p.at_ms), y1: i * row + 4, y2: i * row + row - 3 }));
    }
  });
  svg.append(drawn("text", { x: left, y: height - 6 }, "0"));
  svg.append(drawn("text", { x: width - 8, y: height - 6, "text-anchor": "end" }, span(end - begin)));
  at("timeline").replaceChildren(svg);
}

function showBatch(found) {
  const b = found.batch;
  at("detail-title").textContent = `Batch ${b.batch}`;
  facts(at("detail-facts"), [
    ["rollup", b.rollup], ["number", b.number], ["status", b.status.replace("_", " ")], ["operations", b.kinds], ["shards", `${b.shards_done}/${b.shards}`],
    ["queued for", span(b.started_ms ? b.started_ms - b.accepted_ms : found.now_ms - b.accepted_ms)],
    ["took", b.finished_ms ? span(b.finished_ms - b.accepted_ms) : "–"],
    ["cost", b.device_ms === null ? "not known" : span(b.device_ms) + " of a device"],
    ["earned in fees", fees(b.billing, true)],
    ["L1 gas", b.billing ? "≈ " + grouped(b.billing.l1_gas) : "not known"],
    ["posted on L1", b.billing ? grouped(b.billing.posted_bytes) + " bytes" : "not known"],
  ]);
  at("detail-failure").textContent = b.failure;
  timeline(found);
  rows(at("tasks"), found.tasks, (t) => [t.task, status(t.state), t.worker, t.phase, Math.round(t.fraction * 100) + " %", t.attempts, t.last_failure],
    "Its tasks are over.");
}

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS), cache: "no-store" });
  if (!answer.ok) throw new Error((await answer.text()).trim() || `the coordinator answers ${answer.status}`);
  return answer.json();
}

function trouble(words) {
  const box = at("trouble");
  if (box.textContent !== words) box.textContent = words;
  box.hidden = !words;
}

async function look() {
  const wanted = decodeURIComponent(location.hash.slice(1));
  const troubles = [];
  let reached = false;
  try {
    seen = await ask("/api/state");
    seenAt = Date.now();
    reached = true;
    show(seen);
    if (seen.leader === "") troubles.push("This coordinator stands by, and none leads at present: nothing is done until one does.");
    if (seen.suspended) troubles.push("The coordinator's store takes no writes, so nothing is done until it does: its log says why; a full disk is the usual cause.");
    if (seen.paused) troubles.push("The service is paused: no tasks are handed out until `rollup-prover resume`.");
    if (seen.age_ms > 15000) troubles.push(`The coordinator has been held up for ${span(seen.age_ms)}; what is shown is as old.`);
    const failed = seen.batches.filter((b) => b.status === "failed");
    if (failed.length) troubles.push(`Batch ${failed[failed.length - 1].batch} has failed: ${failed[failed.length - 1].failure}`);
    if (seen.leader === null && !seen.workers.length && seen.batches_open) troubles.push("Batches wait, and no worker is connected.");
  } catch (error) {
    const old = seen ? ` What is shown is ${span(Date.now() - seenAt)} old.` : "";
    troubles.push(`The coordinator cannot be reached, or does not answer: ${error.message}.${old}`);
  }
  const opening = at("detail").hidden;
  at("detail").hidden = !wanted;
  if (wanted) {
    try {
      showBatch(await ask("/api/batch?id=" + encodeURIComponent(wanted)));
      if (opening) at("detail-title").focus();
    } catch (error) {
      // Nothing of another batch stays under this one's name.
      at("detail").hidden = true;
      if (reached) troubles.unshift(`Batch ${wanted}: ${error.message}.`);
    }
  }
  trouble(troubles.join(" "));
}

async function keepLooking() {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((done) => setTimeout(done, EVERY_MS));
  }
}

addEventListener("hashchange", look);
at("back").addEventListener("click", (event) => {
  event.preventDefault();
  location.hash = "";
});
keepLooking();
