// node run_graph_model.cjs FOLDER B H W 3 < float32 images: the outputs of a graph model
// of TensorFlow.js by name, as JSON in the last line.

const fs = require("fs");
const path = require("path");
const tf = require("@tensorflow/tfjs");

async function main([folder, ...shape]) {
  const model = JSON.parse(fs.readFileSync(path.join(folder, "model.json")));
  const files = model.weightsManifest.flatMap((group) => group.paths);
  const weights = Buffer.concat(files.map((file) => fs.readFileSync(path.join(folder, file))));
  const graph = await tf.loadGraphModel(tf.io.fromMemory({
    modelTopology: model.modelTopology,
    weightSpecs: model.weightsManifest.flatMap((group) => group.weights),
    weightData: new Uint8Array(weights).buffer,
    signature: model.signature,
  }));
  const pixels = new Float32Array(new Uint8Array(fs.readFileSync(0)).buffer);
  const found = graph.execute({images: tf.tensor(pixels, shape.map(Number))});
  const named = graph.outputNodes.map((name, i) => [name, found[i].arraySync()]);
  console.log(JSON.stringify(Object.fromEntries(named)));
}

main(process.argv.slice(2));
