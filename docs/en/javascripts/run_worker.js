/* Python, in a worker of its own: the page stays alive whatever the reader runs, and ends it with the worker. */

import { loadPyodide } from "../assets/python/pyodide.mjs";

const folder = new URL("../assets/python/", import.meta.url);

async function load() {
  const [python, runCell] = await Promise.all([
    loadPyodide({ indexURL: folder.href }),
    fetch(new URL("run_cell.py", folder)).then((answer) => answer.text()),
  ]);
  python.FS.writeFile("run_cell.py", runCell);
  return { python, cell: python.pyimport("run_cell") };
}

const loaded = load();

onmessage = async ({ data: code }) => {
  try {
    const { python, cell } = await loaded;
    await python.loadPackagesFromImports(code, { messageCallback() {} });
    postMessage({ kind: "running" });
    const endedBy = cell.run(code, (text) => postMessage({ kind: "printed", text }));
    postMessage({ kind: endedBy ? "failed" : "done" });
  } catch (error) {
    postMessage({ kind: "broken", text: String(error) });
  }
};
