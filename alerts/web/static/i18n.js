/** Chinese and English. The browser's language decides first; whoever switches is remembered. */

const WORDS = {
  title: ["指挥席 · Gridwarden", "Command seat · Gridwarden"],
  officerTitle: ["我的任务 · Gridwarden", "My alerts · Gridwarden"],
  commandSeat: ["指挥席", "Command seat"],
  myAlerts: ["我的任务", "My alerts"],
  live: ["实时", "Live"],
  connecting: ["连接中…", "Connecting …"],
  stale: ["连接中断：以下内容可能已过时", "Connection lost: what you see may be out of date"],
  silent: ["{n} 台设备的链路自检中断，其告警可能无法到达：{devices}", "No canary from {n} devices, so an alarm of theirs may not arrive: {devices}"],
  deaf: ["消息服务器中断：新告警暂时无法到达", "The message broker is down: no new alert can arrive"],
  staleSince: ["中断 {s} 秒", "lost for {s} s"],
  incidents: ["事件", "Incidents"],
  open: ["处置中", "Open"],
  closedOnes: ["已结束", "Closed"],
  none: ["一切正常，暂无事件", "All quiet: no incidents"],
  noneHint: ["新告警会自动出现在这里。", "A new alert appears here by itself."],
  pick: ["选择一个事件查看详情", "Select an incident to see everything about it"],
  acknowledge: ["确认收到", "Acknowledge"],
  acknowledged: ["已确认收到", "Acknowledged"],
  investigate: ["现场核查", "Look into it"],
  confirm: ["核实为真", "Confirm"],
  clear: ["误报解除", "Clear"],
  close: ["结案", "Close"],
  cancel: ["作废", "Cancel"],
  reopen: ["重新打开", "Reopen"],
  reason: ["原因", "Reason"],
  reasonHint: ["请选择或填写原因", "Choose or write a reason"],
  ok: ["确定", "OK"],
  back: ["返回", "Back"],
  evidence: ["现场画面", "Evidence"],
  evidenceComing: ["画面正在传送…", "A picture is on its way …"],
  noEvidence: ["此事件没有画面", "This incident has no picture"],
  redacted: ["框外已打码", "Pixelated outside the frame"],
  enlarge: ["放大", "Enlarge"],
  who: ["通知了谁，为什么", "Who was alerted, and why"],
  nobodyTold: ["尚未通知任何人", "Nobody has been alerted yet"],
  step: ["第 {n} 级", "Step {n}"],
  next: ["下一步", "What is due next"],
  nothingDue: ["已结束，不再等待", "Over: nothing is waited for"],
  timeline: ["各环节用时", "Stage by stage"],
  captureToOfficer: ["从画面到通知", "camera to alert"],
  history: ["处理记录", "Decisions"],
  noHistory: ["尚无决定", "No decision yet"],
  onTheWay: ["正在送达系统", "on its way to the stream"],
  openOfficer: ["打开其手机页面", "Open their page"],
  where: ["位置", "Where"],
  accuracy: ["误差 {m} 米", "within {m} m"],
  seenTimes: ["{n} 次观测", "{n} observations"],
  confidence: ["置信度 {p}%", "confidence {p} %"],
  late: ["迟到的信号", "late signal"],
  silent: ["失联 {t}", "silent for {t}"],
  neverHeard: ["尚无心跳", "not heard yet"],
  overdue: ["已超时 {t}", "overdue by {t}"],
  inTime: ["剩余 {t}", "{t} left"],
  ago: ["{t}前", "{t} ago"],
  newAlert: ["新告警", "New alert"],
  changedNotice: ["事件已变化，请重新查看后决定。", "The incident has changed. Look again, then decide."],
  failed: ["没有成功：{e}", "That failed: {e}"],
  soundOn: ["声音：开", "Sound on"],
  soundOff: ["声音：关", "Sound off"],
  keys: ["↑↓ 选择 · A 确认收到 · I 现场核查 · C 核实 · X 解除 · Z 结案", "↑↓ select · A acknowledge · I look into it · C confirm · X clear · Z close"],
  legendCamera: ["摄像机及视野（红：失联）", "Camera and its view (red: silent)"],
  legendScope: ["已通知岗位的辖区", "Scope of alerted posts"],
  legendIncident: ["事件及误差范围", "Incident and its radius"],
  mapMissing: ["地图库未安装：make assets", "No map library: make assets"],
  wholeCity: ["全城", "Whole city"],
  // officer
  accept: ["接受任务", "Accept"],
  decline: ["拒绝", "Decline"],
  handBack: ["退回任务", "Hand back"],
  accepted: ["已接受", "Accepted"],
  declined: ["已拒绝", "Declined"],
  arrived: ["我已到达", "I have arrived"],
  done: ["处理完毕", "Done"],
  whyMe: ["为什么是我", "Why me"],
  takenBy: ["{who} 已接手", "{who} has taken it"],
  noAlerts: ["目前没有任务", "No alerts for you"],
  closedCase: ["事件已结束", "The incident is over"],
  standDown: ["无需再处理", "Nothing left to do"],
  basis: ["职责依据", "Legal basis"],
  assistance: ["需帮扶场所", "People may need help"],
  leads: ["牵头单位", "Lead"],
  duty: ["职责领域", "Duty"],
  looksAfter: ["岗位职责", "looks after"],
  besideDuty: ["不在岗位职责内", "not a duty of the post"],
  myDuties: ["我的岗位与职责", "My posts and duties"],
  // reports
  report: ["上报事件", "Report"],
  reportTitle: ["上报事件", "Report something"],
  reportPageTitle: ["上报事件 · Gridwarden", "Report · Gridwarden"],
  what: ["是什么", "What is it"],
  chooseWhat: ["请选择类别", "Choose a category"],
  pickSpot: ["点一下地图标出位置，或填写经纬度", "Tap the map where it is, or give the position"],
  longitude: ["经度", "Longitude"],
  latitude: ["纬度", "Latitude"],
  here: ["我在现场", "I am there"],
  details: ["说明", "What do you see"],
  noPersons: ["只写事情，不写人：不要填写姓名、外貌或车牌。", "Say what happened, not who: no names, looks or number plates."],
  send: ["上报", "Send"],
  reportSent: ["已收到，正在送达系统。", "Received, and on its way."],
  reportTaken: ["已受理，尚未成案", "Taken up, no incident yet"],
  tooMany: ["上报过于频繁，请直接致电指挥席。", "Too many reports in a short time: please call the command seat."],
  myReports: ["我的上报", "My reports"],
  noReports: ["还没有上报", "Nothing reported yet"],
  backToPage: ["返回", "Back to my page"],
};

const TABLES = {
  state: {
    dispatched: ["已派单", "Dispatched"], accepted: ["已接单", "Accepted"], handling: ["处理中", "On site"],
    handled: ["已处理", "Handled"], closed: ["已结案", "Closed"], cleared: ["误报解除", "Cleared"],
    cancelled: ["已作废", "Cancelled"], merged: ["已并案", "Merged"],
  },
  stage: { pre_alarm: ["疑似", "Possible"], alarm: ["警报", "Alarm"], restored: ["已恢复", "Restored"] },
  mark: {
    delivered: ["已送达", "delivered"], read: ["已读", "read"], accepted: ["已接受", "accepted"],
    declined: ["已拒绝", "declined"], arrived: ["已到达", "arrived"], done: ["已处理", "done"],
    sent: ["已发送", "sent"], sending: ["发送中", "sending"],
  },
  decision: {
    acknowledge: ["确认收到", "acknowledged"], confirm: ["核实为真", "confirmed"], clear: ["误报解除", "cleared"],
    close: ["结案", "closed"], cancel: ["作废", "cancelled"], reopen: ["重新打开", "reopened"],
    investigate: ["现场核查", "is looking into it"],
    rematch: ["请求重新派单", "asked to be matched anew"],
  },
  clock: {
    answer: ["等待应答", "waiting for an answer"], step: ["到时通知上一级", "next level is told"],
    arrival: ["等待到达现场", "waiting for arrival"], handling: ["处理中", "being handled"],
    verification: ["等待核查", "waiting for the check"], seat: ["等待指挥席确认", "waiting for the seat"],
    nobody_left: ["已无人可派，请指挥席处理", "nobody is left: the seat must act"],
    investigation: ["正在现场核查，到时全面报警", "being looked into: then a general alarm"],
    rematch: ["正在重新匹配责任人", "asking who is responsible now"],
    quiet: ["免打扰时段结束后通知", "called after their quiet hours"],
  },
  hop: {
    captured: ["拍摄", "captured"], inferred: ["识别", "inferred"], queued: ["入队", "queued"], sent: ["发出", "sent"],
    ingested: ["接收", "ingested"], decided: ["判定", "decided"], matched: ["匹配", "matched"],
    ordered: ["派单", "ordered"], stored: ["存档", "stored"], notified: ["通知", "notified"], acked: ["应答", "answered"],
  },
  why: {
    clear: [["蒸汽或炊烟", "steam or cooking"], ["灰尘、雾或雨", "dust, fog or rain"], ["灯光或反光", "light or reflection"],
      ["演练或测试", "drill or test"], ["其他", "other"]],
    close: [["现场已处置", "dealt with on site"], ["现场核查无异常", "checked: nothing there"], ["其他", "other"]],
    cancel: [["误报", "false alarm"], ["重复上报", "reported twice"], ["恶意触发", "tampering"], ["其他", "other"]],
    reopen: [["再次发生", "it happened again"], ["处理不彻底", "not settled"], ["误操作", "closed by mistake"]],
    decline: [["正在处理其他事件", "busy with another incident"], ["距离太远", "too far away"], ["不在岗", "off duty"],
      ["无法处置此类事件", "cannot handle this kind"]],
  },
};

let current = localStorage.getItem("lang") ?? (navigator.language?.toLowerCase().startsWith("zh") ? "zh" : "en");
const listeners = [];

export const lang = () => current;
export const pick = (text) => (text == null ? "" : text[current] ?? text.en ?? "");
export const comma = () => (current === "zh" ? "、" : ", ");
export const list = (texts) => texts.map(pick).join(comma());

function choose(pair, values) {
  const sentence = pair[current === "zh" ? 0 : 1];
  return sentence.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export const t = (key, values = {}) => choose(WORDS[key], values);
export const tell = (table, key) => (TABLES[table][key] ? choose(TABLES[table][key], {}) : key);
export const choices = (kind) => (TABLES.why[kind] ?? []).map((pair) => choose(pair, {}));

export function apply(root = document) {
  document.documentElement.lang = current === "zh" ? "zh-CN" : "en";
  for (const node of root.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of root.querySelectorAll("[data-t-label]")) node.setAttribute("aria-label", t(node.dataset.tLabel));
}

export function onLanguage(listener) {
  listeners.push(listener);
}

export function switchLanguage() {
  current = current === "zh" ? "en" : "zh";
  localStorage.setItem("lang", current);
  apply();
  for (const listener of listeners) listener();
}
