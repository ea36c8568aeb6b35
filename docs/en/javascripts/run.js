/* Examples that the reader can run and edit.  Python comes with the first run, from this site, and is shared by the page. */

(() => {
  "use strict";

  const WORKER = new URL("run_worker.js", document.currentScript.src);
  const examples = [];
  let worker = null; // Python, once somebody asked for it
  let current = null; // the example that is running

  class Example {
    constructor(element) {
      this.words = JSON.parse(element.dataset.words);
      this.lacking = element.dataset.lacking;
      const [shown, result] = element.querySelectorAll(".highlight");
      this.shown = shown;
      this.output = result.querySelector("code");
      this.original = { code: this.shown.querySelector("code").textContent.trimEnd(), output: this.output.textContent };

      this.state = make("span", { className: "try-state", role: "status" });
      this.bar = make("div", { className: "try-bar" });
      this.shown.after(this.bar);
      if (location.protocol === "file:") {
        this.say("disk");
        this.bar.append(this.state);
        return;
      }
      this.runs = this.button("run", () => (current === this ? this.stop() : this.run()));
      this.edits = this.button("edit", () => this.edit());
      this.resets = this.button("reset", () => this.reset());
      this.resets.hidden = true;
      this.bar.append(this.runs, this.edits, this.resets, this.state);
      this.output.parentElement.setAttribute("aria-live", "polite");
      this.say("first");
    }

    button(word, action) {
      const button = make("button", { type: "button", textContent: this.words[word] });
      button.addEventListener("click", action);
      return button;
    }

    say(word, detail = "") {
      this.state.textContent = [this.words[word], detail].filter(Boolean).join(" ");
    }

    edit() {
      if (!this.editor) {
        this.editor = make("textarea", {
          className: "try-editor",
          textContent: this.original.code,
          rows: this.original.code.split("\n").length,
          spellcheck: false,
          wrap: "off",
          ariaLabel: this.words.code,
          autocapitalize: "off",
          autocomplete: "off",
        });
        this.editor.addEventListener("keydown", (event) => this.typed(event));
      }
      this.shown.replaceWith(this.editor);
      this.edits.hidden = true;
      this.resets.hidden = false;
      this.editor.focus();
      if (current !== this) this.say("keys", worker ? "" : this.words.first);
    }

    /* Tab goes on to the next button, as everywhere; a new line begins below the one before it. */
    typed(event) {
      if (event.key !== "Enter" || event.isComposing) return;
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        this.run();
      } else if (!event.shiftKey && !event.altKey) {
        event.preventDefault();
        const line = this.editor.value.slice(0, this.editor.selectionStart).split("\n").pop();
        const deeper = line.trimEnd().endsWith(":") ? "    " : "";
        document.execCommand("insertText", false, `\n${line.match(/^ */)[0]}${deeper}`); // keeps what Ctrl+Z undoes
      }
    }

    reset() {
      if (current === this) this.stop();
      this.editor.value = this.original.code;
      this.editor.replaceWith(this.shown);
      this.output.textContent = this.original.output;
      this.edits.hidden = false;
      this.resets.hidden = true;
      this.edits.focus();
      this.say("");
    }

    run() {
      if (current) return;
      const code = this.editor?.isConnected ? this.editor.value : this.original.code;
      if (this.lacking && new RegExp(`^\\s*(import|from)\\s+${this.lacking}\\b`, "m").test(code)) {
        this.say("lacking");
        return;
      }
      current = this;
      this.fresh = true;
      this.say(worker ? "running" : "loading");
      worker ??= start();
      worker.postMessage(code);
      this.runs.textContent = this.words.stop;
      for (const example of examples) {
        example.runs.disabled = example !== this;
        if (example !== this) example.say("");
      }
    }

    stop() {
      end();
      this.finish("stopped");
    }

    heard({ kind, text }) {
      if (kind === "printed") {
        this.clear();
        if (text === undefined) this.cut = true;
        else this.output.append(text);
      } else if (kind === "running") {
        this.say("running");
      } else {
        if (kind === "broken") end();
        this.clear();
        this.finish(kind, kind === "broken" ? text : this.cut ? this.words.cut : "");
      }
    }

    /* What was there stays until there is something new, so that the page does not jump. */
    clear() {
      if (!this.fresh) return;
      this.fresh = this.cut = false;
      this.output.textContent = "";
    }

    finish(word, detail) {
      current = null;
      this.runs.textContent = this.words.run;
      for (const example of examples) example.runs.disabled = false;
      this.say(word, detail);
    }
  }

  function make(tag, properties) {
    return Object.assign(document.createElement(tag), properties);
  }

  function start() {
    const started = new Worker(WORKER, { type: "module" });
    started.onmessage = ({ data }) => current?.heard(data);
    started.onerror = (event) => current?.heard({ kind: "broken", text: event.message ?? "" });
    return started;
  }

  function end() {
    worker?.terminate();
    worker = null;
  }

  for (const element of document.querySelectorAll(".try[data-words]")) examples.push(new Example(element));
})();
