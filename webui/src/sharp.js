// Enlarges the world's small pictures on the visitor's own graphics processor: smooth along an edge, steep across it.
//
// Two passes. The first weights the twelve pixels around a point by a kernel that is drawn out along the edge there, and keeps the
// result within the four nearest. The second sharpens as far as the neighbours allow without ringing. The idea, the polynomial for
// the kernel and the bound of the sharpening are those of FidelityFX Super Resolution 1.0 (AMD, `ffx_fsr1.h`: EASU and RCAS).

/** Names under which browsers report that the main processor draws in place of a graphics card. */
const SLOW = /swiftshader|llvmpipe|softpipe|software|basic render/i;
/** A wall of a screen is no sharper for more: the picture has some thousand pixels. */
const SIDE_MAX = 2048;
/** 0: nothing, 1: as far as it goes without ringing. */
const SHARPNESS = 0.5;
/** How far away neighbours are looked for, in pixels of the world: further, and an edge gets a shadow. */
const REACH = 0.3;

const VERTEX = `#version 300 es
out vec2 at;
void main() {
  // One triangle that covers the canvas.
  vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  at = corner * 0.5 + 0.5;
  gl_Position = vec4(corner, 0.0, 1.0);
}`;

const ENLARGE = `#version 300 es
precision highp float;
uniform sampler2D source;
in vec2 at;
out vec4 colour;

ivec2 size;
vec3 texel(ivec2 where) { return texelFetch(source, clamp(where, ivec2(0), size - 1), 0).rgb; }
float light(vec3 c) { return dot(c, vec3(0.299, 0.587, 0.114)); }

// Lanczos with two lobes, as a polynomial of the squared distance.
float kernel(float d2) {
  d2 = min(d2, 4.0);
  float centre = 0.4 * d2 - 1.0;
  float window = 0.25 * d2 - 1.0;
  return (1.5625 * centre * centre - 0.5625) * window * window;
}

void main() {
  size = textureSize(source, 0);
  vec2 place = at * vec2(size) - 0.5;
  ivec2 base = ivec2(floor(place));
  vec2 part = place - vec2(base);

  // Across the edge: how the light changes, at the four nearest pixels.
  vec2 slope = vec2(0.0);
  for (int y = 0; y < 2; y++) for (int x = 0; x < 2; x++) {
    ivec2 here = base + ivec2(x, y);
    vec2 near = mix(1.0 - part, part, vec2(x, y));
    slope += near.x * near.y * vec2(
      light(texel(here + ivec2(1, 0))) - light(texel(here - ivec2(1, 0))),
      light(texel(here + ivec2(0, 1))) - light(texel(here - ivec2(0, 1))));
  }
  float steep = length(slope);
  vec2 across = steep > 1e-4 ? slope / steep : vec2(1.0, 0.0);
  float edge = smoothstep(0.02, 0.3, steep);
  // Longer along the edge, and narrower across it.
  vec2 stretch = vec2(1.0 + 0.35 * edge, 1.0 - 0.5 * edge);

  vec3 sum = vec3(0.0);
  float weights = 0.0;
  vec3 low = vec3(1.0), high = vec3(0.0);
  for (int y = -1; y <= 2; y++) for (int x = -1; x <= 2; x++) {
    if ((x == -1 || x == 2) && (y == -1 || y == 2)) continue;
    vec3 c = texel(base + ivec2(x, y));
    vec2 away = vec2(x, y) - part;
    vec2 turned = stretch * vec2(dot(away, across), dot(away, vec2(-across.y, across.x)));
    float weight = kernel(dot(turned, turned));
    sum += weight * c;
    weights += weight;
    if (x >= 0 && x <= 1 && y >= 0 && y <= 1) { low = min(low, c); high = max(high, c); }
  }
  // A little past them: cut off hard, a slope becomes a step.
  vec3 room = 0.06 * (high - low);
  colour = vec4(clamp(sum / weights, low - room, high + room), 1.0);
}`;

const SHARPEN = `#version 300 es
precision highp float;
uniform sampler2D source;
uniform vec2 reach;
uniform float sharpness;
in vec2 at;
out vec4 colour;

void main() {
  vec3 c = texture(source, at).rgb;
  vec3 n = texture(source, at + vec2(0.0, reach.y)).rgb, s = texture(source, at - vec2(0.0, reach.y)).rgb;
  vec3 e = texture(source, at + vec2(reach.x, 0.0)).rgb, w = texture(source, at - vec2(reach.x, 0.0)).rgb;
  vec3 low = min(min(n, s), min(e, w)), high = max(max(n, s), max(e, w));
  // The most that can be taken away before a channel leaves 0 … 1.
  vec3 lobes = max(-low / (4.0 * high + 1e-4), (1.0 - high) / (4.0 * low - 4.0 - 1e-4));
  float lobe = sharpness * max(-0.1875, min(max(lobes.r, max(lobes.g, lobes.b)), 0.0));
  vec3 sharp = (lobe * (n + s + e + w) + c) / (4.0 * lobe + 1.0);
  colour = vec4(clamp(sharp, 0.0, 1.0), 1.0);
}`;

export class Sharp {
  #gl;
  #enlarge;
  #sharpen;
  #source;
  #between;
  #buffer;

  /**
   * @param {HTMLCanvasElement} canvas one without a context
   * @param {boolean} onlyFast whether a processor that must paint it by itself (no graphics card) counts as none
   * @throws where a browser has no WebGL 2
   */
  constructor(canvas, onlyFast) {
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false, failIfMajorPerformanceCaveat: onlyFast });
    if (!gl) throw new Error("this browser gives no WebGL 2");
    // Not every browser says so when it is asked for a fast one.
    const { UNMASKED_RENDERER_WEBGL: name } = gl.getExtension("WEBGL_debug_renderer_info") ?? { UNMASKED_RENDERER_WEBGL: gl.RENDERER };
    if (onlyFast && SLOW.test(gl.getParameter(name))) throw new Error("the main processor would draw it");
    this.#gl = gl;
    this.#enlarge = program(gl, ENLARGE);
    this.#sharpen = program(gl, SHARPEN);
    this.#source = texture(gl, gl.NEAREST);
    this.#between = texture(gl, gl.LINEAR);
    this.#buffer = gl.createFramebuffer();
  }

  /** The browser took the graphics processor away: nothing is drawn any more. */
  get lost() {
    return this.#gl.isContextLost();
  }

  /** @param {HTMLCanvasElement} picture of the world @param {import("./protocol.js").Size} size to draw it in, in pixels of the screen */
  draw(picture, { width, height }) {
    const gl = this.#gl;
    const { canvas } = gl;
    const shrink = Math.min(1, SIDE_MAX / Math.max(width, height));
    const size = { width: Math.max(1, Math.round(width * shrink)), height: Math.max(1, Math.round(height * shrink)) };
    if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size);

    gl.bindTexture(gl.TEXTURE_2D, this.#source);
    gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, true);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
    gl.bindTexture(gl.TEXTURE_2D, this.#between);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, size.width, size.height, 0, gl.RGBA, gl.UNSIGNED_BYTE, null);
    gl.viewport(0, 0, size.width, size.height);

    gl.bindFramebuffer(gl.FRAMEBUFFER, this.#buffer);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.#between, 0);
    gl.bindTexture(gl.TEXTURE_2D, this.#source);
    gl.useProgram(this.#enlarge);
    gl.drawArrays(gl.TRIANGLES, 0, 3);

    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.bindTexture(gl.TEXTURE_2D, this.#between);
    gl.useProgram(this.#sharpen);
    gl.uniform2f(gl.getUniformLocation(this.#sharpen, "reach"), REACH / picture.width, REACH / picture.height);
    gl.uniform1f(gl.getUniformLocation(this.#sharpen, "sharpness"), SHARPNESS);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}

/** @param {WebGL2RenderingContext} gl @param {string} fragment */
function program(gl, fragment) {
  const program = gl.createProgram();
  for (const [type, source] of /** @type {const} */ ([[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, fragment]])) {
    const shader = gl.createShader(type);
    if (!shader) throw new Error("this browser's WebGL makes no shader");
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader) ?? "a shader did not compile");
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? "shaders did not link");
  return program;
}

/** @param {WebGL2RenderingContext} gl @param {number} filter */
function texture(gl, filter) {
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, filter);
  for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
  return texture;
}
