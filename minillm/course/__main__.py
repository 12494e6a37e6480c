"""`python -m minillm.course`: write the models that lessons stand on, in data/models/, anew."""

from minillm.course.models import write_ready_models

if __name__ == "__main__":
    write_ready_models()
