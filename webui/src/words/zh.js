// Chinese, in the simplified script.

/** @type {Record<keyof typeof import("./en.js").EN, string>} */
export const ZH = {
  controls: "操作",
  sensitivity: "鼠标与手指：移动转多远",
  invert: "向下即抬头",
  dead_zone: "手柄：摇杆的死区",
  touch: "拇指操作",
  touch_keys: "按键",
  touch_sticks: "摇杆",
  overlay: "在画面上显示按键",
  burn: "在录像里显示按键和提示词",
  keys: "按键",
  keys_reset: "恢复默认",
  press_a_key: "请按一个键",
  key_taken: "{key} 已有其他用途。请按别的键，或按 Esc。",
  walk_forward: "向前走",
  walk_left: "向左走",
  walk_back: "向后走",
  walk_right: "向右走",
  look_up: "向上看",
  look_left: "向左看",
  look_down: "向下看",
  look_right: "向右看",
  language: "语言",
  language_auto: "跟随浏览器",
  language_later: "下次打开页面时生效。",
};
