/** Adding images: by a button, dropped anywhere, or pasted. */

import { byId, complain, toast } from "./dom.js";

/**
 * Let images be added.
 * @param {import("./app.js").App} app
 */
export function setUpAdding(app) {
    const files = byId("add-files");
    for (const id of ["add-button", "welcome-add"]) byId(id).addEventListener("click", () => files.click());
    files.addEventListener("change", () => {
        addAll(app, [...files.files]);
        files.value = "";
    });
    setUpDrop(app);
    addEventListener("paste", (event) => {
        const pasted = [...event.clipboardData.files];
        if (pasted.length) addAll(app, pasted.map(named));
    });
}

function setUpDrop(app) {
    const sign = byId("drop");
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    let depth = 0; // dragenter and dragleave come for each element under the pointer
    const show = (change) => {
        depth = Math.max(0, depth + change);
        sign.hidden = !depth;
    };
    addEventListener("dragenter", (event) => hasFiles(event) && show(1));
    addEventListener("dragleave", (event) => hasFiles(event) && show(-1));
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
        event.preventDefault();
        show(-depth);
        if (event.dataTransfer.files.length) addAll(app, [...event.dataTransfer.files]);
    });
}

/** Pasted pictures are all called image.png. */
function named(file) {
    if (file.name !== "image.png") return file;
    const time = new Date().toISOString().slice(0, 19).replaceAll(":", "").replace("T", "-");
    return new File([file], `pasted-${time}.png`, { type: file.type });
}

/** Upload files one after the other; the first is opened, and painted by the model if there is one. */
async function addAll(app, files) {
    let first = null;
    for (const [k, file] of files.entries()) {
        const done = app.busy(
            files.length > 1 ? `Adding image ${k + 1} of ${files.length} …` : `Adding ${file.name} …`,
        );
        try {
            const info = await app.api.post(`/api/images?name=${encodeURIComponent(file.name)}`, file);
            app.added(info);
            if (!first) {
                first = info.name;
                app.open(first, { predict: true }).catch(complain);
            }
        } catch (error) {
            toast(`${file.name}: ${error.message}`, { wrong: true });
            if (!error.status) break;
        } finally {
            done();
        }
    }
    await app.refresh().catch(complain);
}
