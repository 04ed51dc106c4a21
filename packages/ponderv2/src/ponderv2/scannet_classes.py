"""The classes of the ScanNet benchmarks: 20 of NYU40's, and 200 of the raw ones (their public tables).

A name of several words is written here with underscores.
"""


def _names(text: str) -> tuple[str, ...]:
    return tuple(word.replace("_", " ") for word in text.split())


CLASSES_20 = _names("""
wall floor cabinet bed chair sofa table door window bookshelf picture counter desk curtain refrigerator
shower_curtain toilet sink bathtub otherfurniture
""")
"""in the order of class numbers"""

NYU40_20 = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)
"""the number in NYU40 of each of the 20"""

CLASSES_200 = _names("""
wall chair floor table door couch cabinet shelf desk office_chair bed pillow sink picture window toilet
bookshelf monitor curtain book armchair coffee_table box refrigerator lamp kitchen_cabinet towel clothes
tv nightstand counter dresser stool cushion plant ceiling bathtub end_table dining_table keyboard bag
backpack toilet_paper printer tv_stand whiteboard blanket shower_curtain trash_can closet stairs microwave
stove shoe computer_tower bottle bin ottoman bench board washing_machine mirror copier basket sofa_chair
file_cabinet fan laptop shower paper person paper_towel_dispenser oven blinds rack plate blackboard piano
suitcase rail radiator recycling_bin container wardrobe soap_dispenser telephone bucket clock stand light
laundry_basket pipe clothes_dryer guitar toilet_paper_holder seat speaker column bicycle ladder
bathroom_stall shower_wall cup jacket storage_bin coffee_maker dishwasher paper_towel_roll machine mat
windowsill bar toaster bulletin_board ironing_board fireplace soap_dish kitchen_counter doorframe
toilet_paper_dispenser mini_fridge fire_extinguisher ball hat shower_curtain_rod water_cooler paper_cutter
tray shower_door pillar ledge toaster_oven mouse toilet_seat_cover_dispenser furniture cart
storage_container scale tissue_box light_switch crate power_outlet decoration sign projector closet_door
vacuum_cleaner candle plunger stuffed_animal headphones dish_rack broom guitar_case range_hood dustpan
hair_dryer water_bottle handicap_bar purse vent shower_floor water_pitcher mailbox bowl paper_bag
alarm_clock music_stand projector_screen divider laundry_detergent bathroom_counter object bathroom_vanity
closet_wall laundry_hamper bathroom_stall_door ceiling_light trash_bin dumbbell stair_rail tube
bathroom_cabinet cd_case closet_rod coffee_kettle structure shower_head keyboard_piano
case_of_water_bottles coat_rack storage_organizer folded_chair fire_alarm power_strip calendar poster
potted_plant luggage mattress
""")
"""in the order of class numbers"""

RAW_200 = tuple(
    int(word)
    for word in """
1 2 3 4 5 6 7 8 9 10 11 13 14 15 16 17 18 19 21 22 23 24 26 27 28 29 31 32 33 34 35 36 38 39 40 41 42 44
45 46 47 48 49 50 51 52 54 55 56 57 58 59 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79 80 82 84
86 87 88 89 90 93 95 96 97 98 99 100 101 102 103 104 105 106 107 110 112 115 116 118 120 121 122 125 128
130 131 132 134 136 138 139 140 141 145 148 154 155 156 157 159 161 163 165 166 168 169 170 177 180 185
188 191 193 195 202 208 213 214 221 229 230 232 233 242 250 261 264 276 283 286 300 304 312 323 325 331
342 356 370 392 395 399 408 417 488 540 562 570 572 581 609 748 776 1156 1163 1164 1165 1166 1167 1168
1169 1170 1171 1172 1173 1174 1175 1176 1178 1179 1180 1181 1182 1183 1184 1185 1186 1187 1188 1189 1190
1191
""".split()
)
"""the number in ScanNet's raw table of each of the 200"""
