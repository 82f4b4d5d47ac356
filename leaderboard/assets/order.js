// How figures sort: by the number that a cell begins with; cells without one come last either way down.
(function () {
  "use strict";
  DataTable.type("lead", {
    detect: function () { return false; },
    order: {
      pre: function (cell) {
        const text = String(cell).replace(/<[^>]*>/g, "").trim().replace("−", "-");
        const value = parseFloat(text);
        return Number.isNaN(value) ? -Infinity : value;
      },
    },
  });
})();
