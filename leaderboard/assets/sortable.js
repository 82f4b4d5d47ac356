// Tables whose rows stand in the page: sorting by column heads, pages beyond 500 rows.
(function () {
  "use strict";
  DataTable.ext.errMode = "throw";
  for (const table of document.querySelectorAll("table.sortable")) {
    const rows = table.tBodies[0].rows.length;
    new DataTable(table, {
      order: [], autoWidth: false, paging: rows > 500, pageLength: 500, info: false, searching: false,
      lengthChange: false, layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: rows > 500 ? "paging" : null },
      columnDefs: [
        { targets: "least", type: "lead", orderSequence: ["asc", "desc"] },
        { targets: "num", type: "lead", orderSequence: ["desc", "asc"] },
      ],
    });
  }
})();
