"""What a browser is asked of a page: names, sizes and contrast of what is seen; each gives a list of what is wrong."""

UNNAMED = """() => [...document.querySelectorAll("button, input, select, a, [role]")]
    .filter(each => each.checkVisibility() && !["status", "alert", "list"].includes(each.getAttribute("role")))
    .filter(each => !(each.getAttribute("aria-label") || each.labels?.[0]?.textContent.trim() || each.textContent.trim()
        || document.getElementById(each.getAttribute("aria-labelledby"))))
    .map(each => each.outerHTML.slice(0, 90))"""
"""What a screen reader has no name for."""

SMALL = """() => [...document.querySelectorAll("button, select, input:not([type=radio])")]
    .filter(each => each.checkVisibility())
    .map(each => [each.id || each.className, each.getBoundingClientRect()])
    .filter(([, box]) => box.width && Math.min(box.width, box.height) < 40)
    .map(([name, box]) => `${name} ${box.height}`)"""
"""What a finger misses."""

FAINT = """() => {
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    const linear = c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
    const light = colour => [.2126, .7152, .0722].reduce((sum, part, k) => sum + part * linear(colour[k] / 255), 0);
    const ground = each => {
        for (; each; each = each.parentElement) {
            const [r, g, b, a = 1] = numbers(getComputedStyle(each).backgroundColor);
            if (a === 1) return [r, g, b];
        }
        return [255, 255, 255];
    };
    const written = each => [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    return [...document.querySelectorAll("body *")]
        .filter(each => each.checkVisibility() && !each.closest(":disabled") && written(each))
        .map(each => {
            const both = [light(numbers(getComputedStyle(each).color)), light(ground(each))].sort((a, b) => b - a);
            return [`${each.className} ${each.textContent.slice(0, 20)}`, (both[0] + .05) / (both[1] + .05)];
        }).filter(([, contrast]) => contrast < 4.5);
}"""
"""Text with less contrast to its ground than WCAG AA asks."""
