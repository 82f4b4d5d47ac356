// How figures sort: as numbers, cells without one last either way.
(function () {
  "use strict";

  function last(way) {
    return function (a, b) {
      if (a === b) return 0;
      if (a === -Infinity) return 1;
      if (b === -Infinity) return -1;
      return way * (a - b);
    };
  }

  function never() { return function () { return false; }; }  // a type keeps its own

  // cells of data: numbers, -Infinity where there is none
  DataTable.type("figure", { detect: never(), order: { asc: last(1), desc: last(-1) } });

  // cells of a page: the number that their text begins with
  DataTable.type("lead", {
    detect: never(),
    order: {
      pre: function (cell) {
        const text = String(cell).replace(/<[^>]*>/g, "").trim().replace("−", "-");
        const value = parseFloat(text);
        return Number.isNaN(value) ? -Infinity : value;
      },
      asc: last(1),
      desc: last(-1),
    },
  });
})();
