// Runs before the page is drawn: marks that scripts run, and applies the chosen theme without a flash.
(function () {
  "use strict";
  const root = document.documentElement;
  root.classList.replace("plain", "scripted");

  function stored() {
    try { return localStorage.getItem("lrt-theme"); } catch (error) { return null; }
  }
  function dark() {
    const chosen = root.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  const before = stored();
  if (before === "dark" || before === "light") root.dataset.theme = before;

  document.addEventListener("DOMContentLoaded", function () {
    const button = document.getElementById("theme");
    button.addEventListener("click", function () {
      root.dataset.theme = dark() ? "light" : "dark";
      try { localStorage.setItem("lrt-theme", root.dataset.theme); } catch (error) { /* private window */ }
    });
  });
})();
