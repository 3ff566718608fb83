/** The help sheet, what the model is, and the downloads. */

import { ask, complain, icon, make, terms } from "./dom.js";
import { pathOf } from "./session.js";
import { SHORTCUTS } from "./tools.js";

const OWN = [
    ["K", "keep this image: the model learns from it"],
    ["M", "let the model paint this image"],
    [", and .", "previous and next image"],
    ["Page Up, Page Down", "slice of a stack"],
    ["T", "three planes of a stack; they go through where you paint, or click with the right button or H"],
    ["H", "move the image; or hold Space with any tool"],
    ["+ − and arrows", "zoom and move"],
    ["W", "whole image"],
    ["Enter", "paint at the cross in the middle, while the image has the focus"],
    ["Shift with arrows", "paint along the way of the cross"],
    ["X", "paint “not annotated”"],
    ["O", "show or hide the labels"],
    ["L", "labels as areas or outlines"],
    ["?", "this sheet"],
];

/** Show the help sheet. */
export function showHelp() {
    const keys = (pairs) =>
        terms(
            "keys-list",
            pairs.map(([keys, told]) => [make("kbd", { text: keys }), told]),
        );
    return ask("Help", [
        make(
            "ol",
            { class: "steps-list" },
            make("li", { text: "Add images: drop them anywhere on this page." }),
            make("li", {
                text: "Paint what you look for, then press Keep. Correct what the model paints, then press Keep.",
            }),
            make("li", {
                text: "Press Improve. The more images are kept, the better it gets; Suggest says which help most.",
            }),
        ),
        make("p", {
            class: "soft",
            text: "Everything is saved as you paint, in ordinary files in the project’s folder on this computer.",
        }),
        make("h3", { text: "Keys of the page" }),
        keys(OWN),
        make("h3", { text: "Keys of the tools" }),
        keys(SHORTCUTS),
    ]);
}

/** Show what the current model is. @param {import("./app.js").App} app */
export async function showModel(app) {
    if (!app.project.has_model) {
        await ask("No model yet", [make("p", { text: app.project.why_not ?? "Press Improve to train one." })]);
        return;
    }
    try {
        const model = await app.api.get("/api/model");
        const images = model.trained_on?.images;
        await ask("The model", [
            terms("facts-list", [
                ["Name", model.run ? `Model ${model.run}` : "The one that this server was started with"],
                [
                    "Finds",
                    model.classes
                        .slice(1)
                        .map(({ name }) => name)
                        .join(", "),
                ],
                ["Tells apart", model.kind === "instances" ? "single objects" : "kinds of things"],
                [
                    "Dice",
                    model.dice === null
                        ? "not measured"
                        : `${model.dice.toFixed(2)} on images that it did not learn from (1 is perfect)`,
                ],
                ["Learned from", images ? `${images} ${images === 1 ? "image" : "images"}` : "not known"],
                ["Images", imagesOf(model)],
            ]),
        ]);
    } catch (error) {
        complain(error);
    }
}

function imagesOf({ dims, channels, spacing, unit }) {
    const told = [dims === 3 ? "stacks" : "flat", `${channels} ${channels === 1 ? "channel" : "channels"}`];
    if (spacing) told.push(`pixel ${spacing.map((each) => Number(each.toPrecision(3))).join(" × ")} ${unit ?? ""}`);
    return told.join(", ");
}

/** Offer the files that can be taken away. @param {import("./app.js").App} app */
export function showDownloads(app) {
    const { project, image } = app;
    const choices = [
        choice("/api/download", "All masks", `${project.kept} kept, with the legend, as a zip`, project.kept > 0),
    ];
    if (image) {
        const path = `${pathOf(image.name)}/download?what=`;
        const some = image.source !== "new";
        choices.push(choice(`${path}labels`, "Labels of this image", `${image.name}, as you see them`, some));
        if (project.kind === "instances") {
            choices.push(
                choice(`${path}table`, "Table of its objects", "Sizes, places and shapes, as CSV", some),
                choice(`${path}geojson`, "Outlines for QuPath", "GeoJSON", some),
                choice(`${path}rois`, "Outlines for ImageJ", "ROI zip", some),
            );
        }
    }
    const run = app.runs.find(({ current }) => current);
    if (run?.report)
        choices.push(
            choice(`/api/runs/${run.run}/report`, "Report of the model", "How good it is, image by image", true, false),
        );
    return ask("Download", [make("div", { class: "choices" }, ...choices)]);
}

function choice(href, words, told, possible, saves = true) {
    const link = possible
        ? { href, ...(saves ? { download: "" } : { target: "_blank", rel: "noopener" }) }
        : { "aria-disabled": "true" };
    return make(
        "a",
        { class: "choice", ...link },
        icon(saves ? "download" : "model"),
        make("b", { text: words }),
        make("span", { class: "soft", text: told }),
    );
}
