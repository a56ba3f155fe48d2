"""Codes of reasons and duties in the words that officers and operators read, in Chinese and English."""

from __future__ import annotations

from typing import Final, NamedTuple


class Words(NamedTuple):
    """The same in both languages."""

    zh: str
    en: str


DUTIES: Final = {
    "sanitation": Words("环境卫生", "Sanitation"),
    "order": Words("市容秩序", "Street order"),
    "facilities": Words("市政设施", "Facilities"),
    "landscape": Words("园林绿化", "Green spaces"),
    "safety": Words("安全", "Safety"),
}
"""What posts look after, and events fall under (`models.people.DutyDomain`)."""

REASONS: Final = {
    # of the matcher: why this person
    "INSIDE_CELL": Words("本网格", "inside their cell"),
    "INSIDE_NODE": Words("本楼宇或商铺", "inside their building or shop"),
    "INSIDE_EXCLUSIVE": Words("专属网格", "inside the exclusive cell"),
    "INSIDE_MICRO": Words("本微网格", "inside their micro cell"),
    "LINE_OF_CELL": Words("本网格所属路段", "on the line that serves the cell"),
    "LINE_HIT": Words("本路段", "on their street or lane"),
    "BORDER_RADIUS": Words("误差范围触及其网格", "the position may lie in their cell"),
    "DEPUTY": Words("副职", "deputy"),
    "CHIEF_ABSENT": Words("正职不在岗", "the chief is off duty"),
    "ABOVE_LEAD": Words("上级岗位", "supervises the lead post"),
    "OFFICE": Words("上级办公室", "office above"),
    "LAST_RESORT": Words("兜底岗位", "last resort"),
    "OVER_LOAD": Words("在办案件较多", "many open cases"),
    "LOAD_UNKNOWN": Words("在办件数未知", "open cases unknown"),
    "OFF_DUTY": Words("不在岗", "off duty"),
    "QUIET_HOURS": Words("免打扰时段", "quiet hours"),
    "NO_POST": Words("该级无岗位", "no post at this level"),
    "NOBODY": Words("该级无人在岗", "nobody on duty at this level"),
    "REPORTER": Words("为上报人", "reported it"),
    "VOLUNTEER": Words("为志愿者", "volunteer"),
    "NO_CONTRACT": Words("合同未生效", "no valid contract"),
    "NO_AUTHORITY": Words("无处置权限", "no authority"),
    "UNQUALIFIED": Words("不具备牵头资质", "not qualified to lead"),
    "ASSIGNED": Words("由指挥长指派", "assigned by a commander"),
    "MAY_SETTLE": Words("可当场处置", "may settle it on the spot"),
    "PARTNER": Words("协同单位一并知会", "partners are told too"),
    "LATE": Words("证据过旧，仅报指挥席", "old evidence: for the seat alone"),
    # of the matcher: why this place
    "NEAREST_CELL": Words("取最近网格", "nearest cell"),
    "OUTSIDE": Words("在所有网格之外", "outside all cells"),
    "POSITION_VAGUE": Words("位置不准", "vague position"),
    "ASSISTANCE": Words("需帮扶场所，优先级上调一级（最高P1）", "people there may need help: one step up, P1 at most"),
    # of the desk: why this order
    "OPENED": Words("新事件", "new incident"),
    "MERGED": Words("已并案", "merged"),
    "RAISED": Words("已升级", "raised"),
    "RESTORED": Words("已恢复", "restored"),
    "CLEARED": Words("信号已消失", "signal cleared"),
    "EVIDENCE": Words("新证据", "new evidence"),
    "GENERAL": Words("全面报警", "general alarm"),
    "ACKNOWLEDGED": Words("指挥席已确认收到", "acknowledged by the seat"),
    "INVESTIGATING": Words("正在现场核查", "being looked into"),
    "FRESH": Words("有实时信号", "a live signal came"),
    "COUNT": Words("持续观测到", "still being seen"),
    "CLOSED": Words("已结案", "closed"),
    "CANCELLED": Words("已作废", "cancelled"),
    "REMATCHED": Words("已重新派单", "matched anew"),
    "REPORTED": Words("有人上报", "somebody reported it"),
    "SPLIT": Words("已拆分", "split off"),
    "CORRECTED": Words("类别已更正", "category corrected"),
    "STEP_EMPTY": Words("该级已无人在岗", "nobody of the step is on duty any more"),
    "ROSTER_CHANGED": Words("排班已变更", "the roster has changed"),
    "STALE_DECISION": Words("情况已变，请重新决定", "it has changed: decide again"),
    # of the escalation: why now
    "FIRST_IN_ORDER": Words("顺位第一", "first in order"),
    "AT_ONCE": Words("同时通知", "all told at once"),
    "DECLINED_BEFORE": Words("前一位已拒绝", "the one before declined"),
    "NO_ANSWER": Words("前一位未应答", "the one before did not answer"),
    "STEP_DUE": Words("到时升级", "this step's time has come"),
    "NOBODY_BELOW": Words("下级已无人可派", "nobody is left below"),
    "NEIGHBOUR": Words("邻近区域", "near their cell or building"),
    "CO_TELLING": Words("一并知会", "told as well"),
    "SEAT": Words("指挥席", "command seat"),
}
