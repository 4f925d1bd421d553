import { svelte } from "@sveltejs/vite-plugin-svelte";
import { svelteTesting } from "@testing-library/svelte/vite";
import { defineConfig } from "vitest/config";

/** File names without hashes: the server gives ETags, and a rebuild changes only what changed. */
const names = {
  entryFileNames: "assets/[name].js",
  chunkFileNames: "assets/[name].js",
  assetFileNames: "assets/[name][extname]",
};

/** The peer that answers `/api` while developing, e.g. `node e2e/mock.mjs` or a real one. */
const peer = "http://127.0.0.1:4040";

export default defineConfig({
  // Relative: the page works behind any path prefix.
  base: "./",
  plugins: [svelte(), svelteTesting()],
  build: {
    target: "es2022",
    sourcemap: false,
    // Strict CSP: nothing is inlined, not even a small SVG.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { output: names },
  },
  worker: { format: "es", rolldownOptions: { output: names } },
  server: { proxy: { "/api": { target: peer, ws: true } } },
  test: { environment: "happy-dom", include: ["tests/**/*.test.ts"] },
});
