// tsc --strict --target es2022 --module commonjs enqueue.ts   (with @types/node)
// AMZIGO_API=http://127.0.0.1:8481 AMZIGO_API_KEY=… SELLER=… node enqueue.js
type EnqueuedJob = { id: string; kind: string; outcome: "created" | "existing" };

async function syncOrders(seller: string): Promise<EnqueuedJob> {
    const answer = await fetch(`${process.env.AMZIGO_API}/v1/jobs`, {
        method: "POST",
        headers: {
            "Authorization": `Bearer ${process.env.AMZIGO_API_KEY}`,
            "Content-Type": "application/json",
            "Idempotency-Key": `first-sync/${seller}`,
        },
        body: JSON.stringify({ kind: "sync_orders", payload: { seller } }),
        signal: AbortSignal.timeout(10_000),
    });
    if (!answer.ok) {
        // A problem in JSON: it names the field, and what would be right.
        throw new Error(await answer.text());
    }
    return (await answer.json()) as EnqueuedJob;
}

syncOrders(process.env.SELLER ?? "").then((job) => console.log(job.outcome, job.id));
