/** Labels packed with gzip, in steps so short that no frame is late. */

const STEP = 2 ** 18; // bytes; the longest task is then a few milliseconds

/**
 * Pack an array as it is at this moment.
 * @param {import("./runs.js").Labels} array changes to it while it is packed have no effect
 * @returns {Promise<Blob>} gzip of its bytes, little-endian as they lie in memory
 */
export async function gzip(array) {
    const bytes = new Uint8Array(array.slice().buffer);
    // A message to oneself lets the page draw between steps; a timer would be slowed down in a hidden tab.
    const { port1, port2 } = new MessageChannel();
    const turn = () =>
        new Promise((done) => {
            port1.onmessage = done;
            port2.postMessage(null);
        });
    let at = 0;
    const source = new ReadableStream({
        async pull(controller) {
            await turn();
            controller.enqueue(bytes.subarray(at, at + STEP));
            at += STEP;
            if (at >= bytes.length) controller.close();
        },
    });
    const packed = await new Response(source.pipeThrough(new CompressionStream("gzip"))).blob();
    port1.close();
    return packed;
}
