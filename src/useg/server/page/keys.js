/** The keys of the tools. */

const TOOLS = { b: "brush", e: "eraser", f: "fill", p: "polygon", i: "pick", j: "merge" };
const TEXT = "textarea, select, input:not([type=range], [type=checkbox], [type=radio])";

/** For the help sheet: [keys, what they do]. */
export const SHORTCUTS = [
    ["B", "brush"],
    ["E", "eraser: paint background"],
    ["F", "fill the region under the pointer"],
    ["P", "polygon: click its corners, or drag; a double click, the first corner or Enter closes it"],
    ["I", "pick the class or object under the pointer (Alt with any tool)"],
    ["[ and ]", "smaller and larger brush"],
    ["0 to 9", "class to paint with"],
    ["V", "protect: brush and polygon leave other classes and objects as they are"],
    ["N", "new object"],
    ["J", "join: click the objects that belong to the selected one"],
    ["S", "split: each separate piece of the object becomes one"],
    ["Delete", "delete the object, or the last corner of the polygon"],
    ["Escape", "give the polygon up, or let the object go"],
    ["Ctrl+Z", "undo"],
    ["Ctrl+Shift+Z or Ctrl+Y", "redo"],
    ["Shift with brush, fill or polygon", "erase"],
];

/**
 * What a key does.
 * @param {import("./tools.js").Editor} editor
 * @param {KeyboardEvent} event
 * @returns {(() => void) | null} null when the key is none of the tools', or is meant for a field of text
 */
export function actionOf(editor, { key, target, ctrlKey, metaKey, altKey, shiftKey, defaultPrevented }) {
    if (defaultPrevented || altKey || target?.matches?.(TEXT)) return null;
    const letter = key.toLowerCase();
    if (ctrlKey || metaKey) {
        if (letter === "y" || (letter === "z" && shiftKey)) return () => editor.redo();
        return letter === "z" ? () => editor.undo() : null;
    }
    if (Object.hasOwn(TOOLS, letter) && (letter !== "j" || editor.kind === "instances")) {
        return () => editor.choose({ tool: TOOLS[letter] });
    }
    if (key === "[" || key === "]") {
        const step = Math.max(1, Math.round(editor.size / 8));
        return () => editor.choose({ size: editor.size + (key === "]" ? step : -step) });
    }
    if (letter === "v") return () => editor.choose({ protect: !editor.protect });
    return editor.drawing ? polygonAction(editor, key) : labelAction(editor, key);
}

function polygonAction(editor, key) {
    if (key === "Enter") return () => editor.closePolygon();
    if (key === "Escape") return () => editor.cancelPolygon();
    return key === "Backspace" || key === "Delete" ? () => editor.dropCorner() : null;
}

function labelAction(editor, key) {
    if (editor.kind === "classes") {
        const known = /^\d$/.test(key) && Number(key) < editor.classes;
        return known ? () => editor.choose({ value: Number(key) }) : null;
    }
    if (key.toLowerCase() === "n") return () => editor.newObject();
    if (!editor.object) return null;
    if (key === "Escape") return () => editor.choose({ value: 0 });
    if (key.toLowerCase() === "s") return () => editor.split();
    return key === "Delete" ? () => editor.deleteObject() : null;
}
