"""What chunk_time.py counts: machine code on a made-up loop, and operations of the published models. `python3 -m unittest`."""
import unittest

from cubin import Code, warp_costs
from launches import LINGBOT_14B, LINGBOT_1_3B, Chunk

# Two copies by the aligned way (`.L_x_2`), or many instructions. A call is the slow way of a division.
LOOP = """
        /*0000*/                   MOV R1, 0x1 ;
.L_x_1:
        /*0010*/               @P0 BRA `(.L_x_2) ;
        /*0020*/                   LDG.E.U16 R1, desc[UR4][R2.64] ;
        /*0030*/                   LDG.E.U16 R2, desc[UR4][R2.64+0x2] ;
        /*0040*/                   STS.128 [R8], R4 ;
        /*0050*/                   BRA `(.L_x_3) ;
.L_x_2:
        /*0060*/                   LDGSTS.E.BYPASS.128 [R8], desc[UR4][R2.64], P1 ;
        /*0070*/                   LDGSTS.E.BYPASS.128 [R8+0x80], desc[UR4][R2.64], P1 ;
.L_x_3:
        /*0080*/                   LDSM.16.M88.4 R4, [R9] ;
        /*0090*/                   HMMA.16816.F32.BF16 R12, R4.reuse, R8, R12 ;
        /*00a0*/              @!P2 CALL.REL.NOINC `(slow) ;
        /*00b0*/                   MUFU.EX2 R3, R3 ;
        /*00c0*/              @!P3 BRA P4, `(.L_x_1) ;
        /*00d0*/                   EXIT ;
"""


class ChunkTime(unittest.TestCase):
    def test_a_turn_takes_the_way_that_copies(self):
        code = Code(line for line in LOOP.replace("@!P2 CALL.REL.NOINC `(slow)", "FADD R3, R3, R3").splitlines())
        loop = code.main_loop("HMMA")
        turn = code.turn(loop, copies=2)
        self.assertEqual(sum(turn.values()), 8)
        self.assertEqual((turn["LDGSTS.E.BYPASS.128"], turn["LDG.E.U16"], turn["HMMA.16816.F32.BF16"]), (2, 0, 1))
        self.assertEqual(code.turn(loop, copies=0)["LDG.E.U16"], 2)
        with self.assertRaises(ValueError):
            code.turn(loop, copies=1)

    def test_no_turn_goes_through_a_call(self):
        code = Code(LOOP.splitlines())
        with self.assertRaises(ValueError):
            code.turn(code.main_loop("HMMA"), copies=2)

    def test_a_unit_is_occupied_as_long_as_its_rate_says(self):
        costs = warp_costs({"LDSM.16.M88.4": 2, "LDGSTS.E.BYPASS.128": 1, "MUFU.EX2": 3, "FFMA": 8, "BRA": 2})
        self.assertEqual(costs["shared memory"], (2 * 512 + 512) / 128)
        self.assertEqual((costs["exponentials"], costs["f32"], costs["issue"]), (6, 2, 4))

    def test_operations_are_those_of_the_published_models(self):
        # A pass of the 14B: 2·L·(6·D² + 2·D·inner)·layers and 4·L·K·D·layers; five passes, the last without most of a block.
        def check(model, products, attention, decoder):
            parts = {"camera and condition, once a chunk": 0.0}
            for launch, times in Chunk(model).launches.items():
                parts[launch.part] = parts.get(launch.part, 0.0) + times * launch.operations / 1e12
            found = parts["queries, keys, values, output"] + parts["feed-forward"]
            seen = parts["attention to the window"] + parts["attention to the prompt"]
            drawn = parts["convolutions of the decoder"] + parts["the decoder's norms and attention"]
            for ours, expected in ((found, products), (seen, attention), (drawn, decoder)):
                self.assertLess(abs(ours / expected - 1), 0.001, (ours, expected))

        # A latent frame: 13.55 as the decoder is published; a convolution that doubles a picture takes 4 of 9 taps here.
        doubling = 2 * 9 * (2 * 120 * 208 * 384 * 192 + 4 * 240 * 416 * 384 * 192 + 4 * 480 * 832 * 192 * 96) / 1e12
        decoder = 13.55 - doubling * 5 / 9
        last = 2 * 4680 * (4 * 5120**2 + 2 * 5120 * 13824) / 1e12
        check(LINGBOT_14B, 5 * 111.89 - last, 199 * 4 * 4680 * (28080 + 512) * 5120 / 1e12, 3 * decoder)
        last = 2 * 6240 * (4 * 1536**2 + 2 * 1536 * 8960) / 1e12
        check(LINGBOT_1_3B, 5 * 15.603 - last, 149 * 4 * 6240 * (28080 + 512) * 1536 / 1e12, 4 * decoder)


if __name__ == "__main__":
    unittest.main()
