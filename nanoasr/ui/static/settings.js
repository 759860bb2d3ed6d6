nanoasr.settings = (() => {  // the form of the Compare tab
  const body = () => document.querySelector("#settings tbody");

  function renumber() {
    [...body().rows].forEach((row, place) => {
      for (const control of row.querySelectorAll("[aria-label]"))
        control.ariaLabel = control.ariaLabel.replace(/row \d+$/, `row ${place + 1}`);
    });
  }

  function add() {
    const last = body().lastElementChild, row = last.cloneNode(true);
    const from = last.querySelectorAll("select, input"), to = row.querySelectorAll("select, input");
    from.forEach((control, i) => { to[i].value = control.value; to[i].checked = control.checked; });
    to[0].value = `row ${body().rows.length + 1}`;
    body().append(row);
    renumber();
    to[0].select();
  }

  function edit(element) {
    element.addEventListener("click", ({target}) => {
      if (target.closest(".add-row")) add();
      const removed = target.closest(".remove-row");
      if (!removed || body().rows.length === 1) return;
      const row = removed.closest("tr"), next = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      renumber();
      next.querySelector(".remove-row").focus();
    });
  }

  function rows() {
    const value = control => control.type === "checkbox" ? control.checked : control.value;
    return [...body().rows].map(row => [...row.querySelectorAll("select, input")].map(value));
  }
  return {edit, rows};
})();
