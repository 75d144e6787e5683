// Holds Kubernetes objects (JSON on stdin, a list) against the schema of their kind; prints what is wrong with them, a
// line each. What the schema's validator never looks at is a field that it does not know.
"use strict";
const kinds = {
    ConfigMap: "kubernetes-models/v1/ConfigMap",
    Deployment: "kubernetes-models/apps/v1/Deployment",
    PodDisruptionBudget: "kubernetes-models/policy/v1/PodDisruptionBudget",
    Service: "kubernetes-models/v1/Service",
};

function watched(value, path, seen) {
    if (value === null || typeof value !== "object") return value;
    return new Proxy(value, {
        get(target, key) {
            const child = target[key];
            if (typeof key === "symbol" || typeof child === "function" || (Array.isArray(target) && key === "length")) return child;
            seen.add(path + "/" + key);
            return watched(child, path + "/" + key, seen);
        },
    });
}

function* paths(value, path) {
    if (value === null || typeof value !== "object") return;
    for (const key of Object.keys(value)) {
        yield path + "/" + key;
        yield* paths(value[key], path + "/" + key);
    }
}

let problems = 0;
function problem(text) {
    console.log(text);
    problems++;
}

for (const object of JSON.parse(require("fs").readFileSync(0, "utf8"))) {
    const name = `${object.kind} ${object.metadata && object.metadata.name}`;
    const Model = kinds[object.kind] && require(kinds[object.kind])[object.kind];
    if (!Model) {
        problem(`${name}: no schema for this kind`);
        continue;
    }
    if (object.apiVersion !== Model.apiVersion) problem(`${name}: apiVersion must be ${Model.apiVersion}`);
    try {
        new Model(object).validate();
    } catch (error) {
        problem(`${name}: ${error.message}`);
    }
    const seen = new Set();
    try {
        Model.prototype.validate.call(watched(new Model(object), "", seen));
    } catch (error) {
        // said above
    }
    for (const path of paths(object, "")) if (!seen.has(path)) problem(`${name}: unknown field ${path}`);
}
process.exit(problems ? 1 : 0);
