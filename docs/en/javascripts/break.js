/* Break it: without this script the mistakes are a list that opens; with it the reader chooses one, guesses, and is told. */
(() => {
  "use strict";

  const made = (tag, properties = {}, ...inside) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...inside);
    return element;
  };

  const equip = (room) => {
    const say = room.dataset;
    const requirements = Object.entries(JSON.parse(say.requirements));
    const faults = [...room.querySelectorAll(":scope > .break-fault")];
    const answers = faults.map((fault) => fault.querySelector(".break-answer"));

    const choice = made("select", {}, ...faults.map((fault, at) =>
      made("option", { value: at }, fault.querySelector("summary").textContent)));
    const boxes = requirements.map(([id]) => made("input", { type: "checkbox", value: id }));
    const marks = requirements.map(() => made("span", { className: "mark" }));
    const guess = made("fieldset", {}, made("legend", {}, say.predict), ...requirements.map(([id, title], at) =>
      made("label", {}, boxes[at], made("span", {}, made("b", {}, id), ` ${title} `, marks[at]))));
    const button = made("button", { type: "button", className: "md-button md-button--primary" }, say.judge);
    const score = made("p", { className: "score" });
    score.setAttribute("role", "status");

    const show = (at) => {
      faults.forEach((fault, other) => {
        fault.hidden = other !== at;
        fault.open = other === at;
        answers[other].hidden = true;
        answers[other].open = false;
      });
      boxes.forEach((box, index) => {
        box.checked = box.disabled = false;
        marks[index].textContent = "";
      });
      score.textContent = "";
      button.textContent = say.judge;
    };

    const judge = () => {
      const answer = answers[choice.value];
      if (!answer.hidden) {
        show(Number(choice.value));
        return;
      }
      const broken = new Set(faults[choice.value].dataset.broken.split(" "));
      let found = 0;
      boxes.forEach((box, index) => {
        const breaks = broken.has(box.value);
        found += breaks && box.checked;
        box.disabled = true;
        marks[index].textContent = breaks
          ? (box.checked ? `● ${say.guessed}` : `● ${say.missed}`)
          : (box.checked ? `· ${say.wrongGuess}` : "");
      });
      const count = boxes.filter((box) => broken.has(box.value)).length;
      const wrong = boxes.filter((box) => box.checked && !broken.has(box.value)).length;
      score.textContent = say.all.replace("{found}", found).replace("{count}", count)
        + (wrong ? ` ${say.andWrong.replace("{count}", wrong)}` : "");
      answer.hidden = false;
      answer.open = true;
      button.textContent = say.again;
    };

    choice.addEventListener("change", () => show(Number(choice.value)));
    button.addEventListener("click", judge);
    room.prepend(made("p", {}, made("label", {}, made("b", {}, say.choose), choice)));
    room.append(guess, button, score, ...answers);
    show(0);
  };

  for (const room of document.querySelectorAll(".break-it")) equip(room);
})();
