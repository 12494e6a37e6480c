"""A second world with words of its own: a clinic, where the remedy follows from the symptom and the allergy.

The table below is knowledge that no single document spells out. It is invented; nothing here is medical advice.
"""

from minillm.tales import words
from minillm.tales.teller import Options, Teller
from minillm.tales.world import World, pools

REMEDIES = {  # symptom: what is given first, and what instead to someone who is allergic to that
    "backache": ("ibuprofen", "arnica"),
    "blister": ("ointment", "powder"),
    "burn": ("gel", "lotion"),
    "cough": ("syrup", "menthol"),
    "cramp": ("magnesium", "potassium"),
    "earache": ("drops", "penicillin"),
    "fever": ("paracetamol", "aspirin"),
    "fracture": ("codeine", "paracetamol"),
    "headache": ("aspirin", "ibuprofen"),
    "infection": ("penicillin", "sulfa"),
    "migraine": ("caffeine", "codeine"),
    "nosebleed": ("saline", "menthol"),
    "rash": ("cream", "zinc"),
    "sprain": ("arnica", "gel"),
    "sunburn": ("lotion", "cream"),
    "toothache": ("iodine", "drops"),
    "ulcer": ("antacid", "charcoal"),
    "wheeze": ("steroids", "caffeine"),
}
SURNAMES = (
    "Abbott Bailey Barker Cooper Dawson Ellis Fisher Gibson Harper Ingram Jensen Keller Lawson Morgan Norris Osborne "
    "Parker Quinn Reeves Sutton Turner Vaughan Watson Young"
).split()
NUMBERS = "one two three four five six seven eight nine ten eleven twelve".split()
CLINIC_WORDS = {
    "name": [f"{title} {surname}" for surname in SURNAMES for title in ("Mr", "Mrs")],
    "ward": "North South East West".split(),
    "bed": NUMBERS,
    "job": (
        "accountant banker cashier clerk driver electrician engineer janitor lawyer mechanic nanny pilot plumber "
        "secretary soldier student tourist tutor waiter welder"
    ).split(),
    "symptom": sorted(REMEDIES),
    "remedy": sorted({remedy for both in REMEDIES.values() for remedy in both}),
    "allergy": sorted({first for first, _ in REMEDIES.values()}),
    "nurse": "Adams Brooks Chavez Diaz Evans Foster".split(),
    "doctor": "Lopez Mehta Novak Okafor Patel Rossi".split(),
    "dose": ["once", "twice", "three times", "four times"],
    "day": words.DAYS,
}
CLINIC_POOLS = pools(CLINIC_WORDS)


def allergies(symptom: str) -> Options:
    """What a patient may be allergic to: half of the time just what would help."""
    first = REMEDIES[symptom][0]
    every = CLINIC_POOLS["allergy"].texts
    return Options((len(every) - 1 if remedy == first else 1, remedy, remedy) for remedy in every)


def tell_case(teller: Teller) -> World:
    """A patient comes in, is treated, and goes home or stays."""
    world = World(teller, CLINIC_POOLS)
    world.plot = "clinic"
    _admission(world)
    _treatment(world)
    _result(world)
    return world


def _admission(world: World) -> None:
    patient, case = world.role("patient"), world.role("case")
    bed = "Ward {case.ward}, bed {case.bed}: "
    world.tell(
        bed + "{patient}, {patient.a_job}, came in on {case.day} with {case.a_symptom}.",
        bed + "{patient}, {patient.a_job}, was admitted on {case.day} with {case.a_symptom}.",
    )
    world.fact(patient, "suffers from", case.symptom)
    world.tell(
        "Nurse {case.nurse} checked {patient.his} pulse and sent for Doctor {case.doctor}.",
        "Nurse {case.nurse} measured {patient.his} temperature and called Doctor {case.doctor}.",
    )


def _treatment(world: World) -> None:
    patient, case = world.role("patient"), world.role("case")
    first, second = REMEDIES[case.symptom]
    world.draws["case", "allergy"] = allergies(case.symptom)
    allergic = world.tell(
        no=("The patient had no known allergies.", '"No allergies," said {patient}.'),
        yes=("The patient was allergic to {case.allergy}.", '"I am allergic to {case.allergy}," said {patient}.'),
    )
    world.outcome.append(allergic)
    case.attributes["remedy"] = second if allergic == "yes" and case.allergy == first else first
    world.tell(
        "Doctor {case.doctor} prescribed {case.remedy} for the {case.symptom}, {case.dose} a day.",
        "For the {case.symptom} Doctor {case.doctor} ordered {case.remedy}, {case.dose} a day.",
    )
    world.fact(patient, "takes", case.remedy)
    world.tell(
        "Nurse {case.nurse} wrote {case.remedy} on the chart of bed {case.bed}.",
        "Nurse {case.nurse} brought the first dose of {case.remedy} to bed {case.bed}.",
    )


def _result(world: World) -> None:
    case, later = world.role("case"), world.role("later")
    later.attributes["day"] = words.DAYS[(words.DAYS.index(case.day) + 1) % 7]
    outcome = world.tell(
        better=((2, "By {later.day} the {case.symptom} was gone."), (2, "By {later.day} {patient} had recovered.")),
        worse=(
            "By {later.day} the {case.symptom} was worse.",
            "By {later.day} {patient} still complained of the {case.symptom}.",
        ),
    )
    world.outcome.append(outcome)
    world.mood(patient="glad" if outcome == "better" else "sad")
    world.tell(
        better=(
            "{patient} was discharged from Ward {case.ward}, and {case.remedy} was stopped.",
            "Doctor {case.doctor} discharged {patient.him}, and bed {case.bed} in Ward {case.ward} was free.",
        ),
        worse=(
            "{patient} stayed in Ward {case.ward}, and the dose of {case.remedy} was doubled.",
            "Doctor {case.doctor} kept {patient.him} in bed {case.bed} and doubled the dose of {case.remedy}.",
        ),
        truth=outcome,
        why=f"the {case.symptom} was {'gone' if outcome == 'better' else 'worse'} by {later.day}",
    )
