// Data comes as scripts that call lrt.put(key, value): a page opened as a file may load scripts, not JSON.
window.lrt = (function () {
  "use strict";
  const held = new Map();
  const waiting = new Map();
  const root = document.currentScript.src.replace(/assets\/data\.js.*$/, "");

  function put(key, value) { held.set(key, value); }

  function get(key) { return held.get(key); }

  // load("nano/S-L/ridge") -> a promise of what data/nano/S-L/ridge.js puts
  function load(key) {
    if (held.has(key)) return Promise.resolve(held.get(key));
    if (!waiting.has(key)) {
      waiting.set(key, new Promise(function (resolve, reject) {
        const script = document.createElement("script");
        script.src = root + "data/" + key + ".js";
        script.onload = function () { resolve(held.get(key)); };
        script.onerror = function () { reject(new Error("data/" + key + ".js could not be read")); };
        document.head.append(script);
      }));
    }
    return waiting.get(key);
  }

  // element("td", {class: "num"}, "text", child...): text is always text, never markup
  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
    }
    made.append(...children.filter(function (child) { return child !== null && child !== undefined; }));
    return made;
  }

  function number(value, digits) {
    if (value === null || value === undefined) return "–";
    const text = value.toFixed(digits);
    return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
  }

  // what follows # as lists of values: #pair=S-L&m=ridge&m=mlp
  function address() { return new URLSearchParams(location.hash.replace(/^#/, "")); }

  function setAddress(parameters) {
    const text = parameters.toString();
    history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
  }

  return { put: put, get: get, load: load, element: element, number: number, root: root,
    address: address, setAddress: setAddress };
})();
